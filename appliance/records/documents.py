"""Documents as rows: what is known of a sealed file, and under which key of the caller it came.

The owner is part of the lookup key wherever a patient is known (docs/threats.md, A16); `find` alone looks up by
document, for members of staff, who may read every document of their practice.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.contracts.records import Document
from appliance.contracts.vault import WrappedKey
from appliance.core.errors import NotFound
from appliance.records import erased, erasure, search
from appliance.records.database import Row, Rows
from appliance.records.patients import read as read_patient

_DESCRIBE = "SELECT document, patient, kind, title, name, media_type, length, added_at, added_by FROM documents"
_FIND = """
    SELECT document, patient, kind, title, name, media_type, length, added_at, added_by,
        sealed_length, sealed_sha256, wrapped_key, key_generation, file, sealed_for
    FROM documents
"""


@dataclass(frozen=True)
class Sealed:
    """What is needed to open a document's file, or to let a share's holder open it.

    `sealed_for` is the box that it was sealed on, "" for this one.
    """

    description: Document
    sealed_length: int
    sealed_sha256: bytes
    wrapped_key: WrappedKey
    file: str
    sealed_for: str = ""


@dataclass(frozen=True)
class CameBefore:
    """A document that came under a caller's key."""

    document: str
    patient: str
    content_sha256: bytes


def add(rows: Rows, sealed: Sealed, text: str = "") -> None:
    """Store the row, found by title, name and `text` from now; NotFound("patient") if that was deleted meanwhile."""
    document = sealed.description
    read_patient(rows, document.patient)
    rows.change(
        "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        document.patient,
        document.document,
        document.kind,
        document.title,
        document.name,
        document.media_type,
        document.length,
        sealed.sealed_length,
        sealed.sealed_sha256,
        sealed.wrapped_key.wrapped,
        sealed.file,
        document.added_at,
        document.added_by,
        sealed.wrapped_key.generation,
        sealed.sealed_for,
    )
    search.index_document(rows, document.document, document.title, document.name, text)


def of_patient(rows: Rows, patient: str, kind: str | None = None) -> list[Document]:
    """Give the patient's documents, newest first; of one kind if given."""
    found = rows.all(
        _DESCRIBE + " WHERE patient = ? AND (? IS NULL OR kind = ?) ORDER BY added_at DESC, document",
        patient,
        kind,
        kind,
    )
    return [_document(row) for row in found]


def find(rows: Rows, document: str) -> Sealed:
    """Give one document by its identifier alone: for staff."""
    return _sealed(rows.one(_FIND + " WHERE document = ?", document))


def find_of_patient(rows: Rows, patient: str, document: str) -> Sealed:
    """Give one document of this patient; another's is not there."""
    return _sealed(rows.one(_FIND + " WHERE patient = ? AND document = ?", patient, document))


def files_of_patient(rows: Rows, patient: str) -> dict[str, str]:
    """Give document -> file of all the patient's documents, their previews not among them."""
    return {
        str(row[0]): str(row[1])
        for row in rows.all("SELECT document, file FROM documents WHERE patient = ?", patient)
    }


def files_in(rows: Rows, folder: str) -> dict[str, int]:
    """Give file -> sealed length of all documents in one folder of the store."""
    found = rows.all(
        "SELECT file, sealed_length FROM documents WHERE file >= ? AND file < ?", folder + "/", folder + "0"
    )
    return {str(file): int(length) for file, length in found}


def titles(rows: Rows, owned: set[tuple[str, str]]) -> dict[str, str]:
    """Give document -> title for those (patient, document) pairs that are still here."""
    found = {}
    for patient, document in owned:
        row = rows.one("SELECT title FROM documents WHERE patient = ? AND document = ?", patient, document)
        if row is not None:
            found[document] = str(row[0])
    return found


def remove(rows: Rows, patient: str, document: str, now: int) -> None:
    """Remove the row, and with it the wrapped key, the caller's key for it and what search finds it by.

    The erasure key has to turn then; a backup that holds it does not bring it back.
    """
    search.forget_document(rows, document)
    if not rows.change("DELETE FROM documents WHERE patient = ? AND document = ?", patient, document):
        raise NotFound("document")
    erasure.note_erased(rows)
    erased.note(rows, "document", document, now)


def came_before(rows: Rows, principal: str, idempotency_key: str) -> CameBefore | None:
    """Give what came under this key, if the document is still here."""
    row = rows.one(
        """
        SELECT document, patient, content_sha256 FROM intake_keys JOIN documents USING (document)
        WHERE principal = ? AND idempotency_key = ?
        """,
        principal,
        idempotency_key,
    )
    return None if row is None else CameBefore(str(row[0]), str(row[1]), bytes(row[2]))


def keep_key(rows: Rows, principal: str, idempotency_key: str, document: str, content_sha256: bytes) -> None:
    """Remember under which key a document came."""
    rows.change("INSERT INTO intake_keys VALUES (?, ?, ?, ?)", principal, idempotency_key, document, content_sha256)


def _document(row: Row) -> Document:
    document, patient, kind, title, name, media_type, length, added_at, added_by = row
    return Document(
        document=document,
        patient=patient,
        kind=kind,
        title=title,
        name=name,
        media_type=media_type,
        length=length,
        added_at=added_at,
        added_by=added_by,
    )


def _sealed(row: Row | None) -> Sealed:
    if row is None:
        raise NotFound("document")
    sealed_length, sealed_sha256, wrapped, generation, file, sealed_for = row[9:]
    key = WrappedKey(wrapped=bytes(wrapped), generation=generation)
    return Sealed(_document(row[:9]), sealed_length, bytes(sealed_sha256), key, file, sealed_for)
