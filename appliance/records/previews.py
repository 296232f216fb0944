"""Previews as rows: the pictures there are, and which documents preview has still to look at.

A document waits here from the transaction that adds it until it has a preview, or cannot have one, or was tried
MAX_ATTEMPTS times. An attempt is counted before it begins, so that one which ends this process is counted too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from appliance.contracts.preview import MAX_CONTENT_BYTES, PreviewedType
from appliance.contracts.records import Document
from appliance.contracts.vault import WrappedKey
from appliance.core.errors import NotFound, Unavailable
from appliance.records import search
from appliance.records.database import Rows

MAX_ATTEMPTS = 3
#: What stands in the envelope of a preview: nothing of the document.
NAME, MEDIA_TYPE = "preview.jpg", "image/jpeg"
PREVIEWED_TYPES: frozenset[str] = frozenset(get_args(PreviewedType))


@dataclass(frozen=True)
class SealedPreview:
    """What is needed to open a preview, or to let a share's holder open it; `sealed_for` as a document's."""

    preview: str
    length: int
    sealed_length: int
    sealed_sha256: bytes
    wrapped_key: WrappedKey
    file: str
    sealed_for: str = ""


def want(rows: Rows, document: Document) -> None:
    """Have preview look at a new document, if it is of a type and size to look at."""
    if document.media_type in PREVIEWED_TYPES and document.length <= MAX_CONTENT_BYTES:
        rows.change("INSERT INTO pending_previews (document) VALUES (?)", document.document)


def take_pending(rows: Rows) -> str | None:
    """Give the document to look at next and count the attempt; those that failed come after all others."""
    row = rows.one("SELECT document FROM pending_previews ORDER BY attempts, number LIMIT 1")
    if row is None:
        return None
    rows.change("UPDATE pending_previews SET attempts = attempts + 1 WHERE document = ?", row[0])
    return str(row[0])


def give_back(rows: Rows, document: str) -> None:
    """Take back an attempt that never reached preview."""
    rows.change("UPDATE pending_previews SET attempts = attempts - 1 WHERE document = ?", document)


def give_up(rows: Rows, document: str, *, for_good: bool) -> None:
    """Let a document be without a preview: at once if `for_good`, else after its last attempt."""
    least = 0 if for_good else MAX_ATTEMPTS
    rows.change("DELETE FROM pending_previews WHERE document = ? AND attempts >= ?", document, least)


def settle(rows: Rows, document: Document, text: str, sealed: SealedPreview | None) -> bool:
    """Keep what preview made of a document; False if it was erased meanwhile."""
    if not rows.change("DELETE FROM pending_previews WHERE document = ?", document.document):
        return False
    if text:
        search.index_document(rows, document.document, document.title, document.name, text)
    if sealed is not None:
        rows.change(
            "INSERT INTO previews VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            document.document,
            sealed.preview,
            sealed.length,
            sealed.sealed_length,
            sealed.sealed_sha256,
            sealed.wrapped_key.wrapped,
            sealed.file,
            sealed.wrapped_key.generation,
            sealed.sealed_for,
        )
    return True


def find(rows: Rows, document: str) -> SealedPreview | None:
    """Give a document's preview, if it has one."""
    row = rows.one(
        """
        SELECT preview, length, sealed_length, sealed_sha256, wrapped_key, key_generation, file, sealed_for
        FROM previews WHERE document = ?
        """,
        document,
    )
    if row is None:
        return None
    preview, length, sealed_length, sealed_sha256, wrapped, generation, file, sealed_for = row
    key = WrappedKey(wrapped=bytes(wrapped), generation=generation)
    return SealedPreview(preview, length, sealed_length, bytes(sealed_sha256), key, file, sealed_for)


def find_now(rows: Rows, document: str) -> SealedPreview:
    """Give a document's preview; Unavailable("preview_pending") or NotFound("preview") if there is none."""
    found = find(rows, document)
    if found is None:
        if rows.one("SELECT 1 FROM pending_previews WHERE document = ?", document):
            raise Unavailable("preview_pending")
        raise NotFound("preview")
    return found


def file_of(rows: Rows, document: str) -> list[str]:
    """Give the sealed file of a document's preview: one or none."""
    return [str(row[0]) for row in rows.all("SELECT file FROM previews WHERE document = ?", document)]


def files_in(rows: Rows, folder: str) -> dict[str, int]:
    """Give file -> sealed length of all previews in one folder of the store."""
    found = rows.all(
        "SELECT file, sealed_length FROM previews WHERE file >= ? AND file < ?", folder + "/", folder + "0"
    )
    return {str(file): int(length) for file, length in found}
