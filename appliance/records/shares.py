"""Shares as rows: where a share lies in the spool and what it names. States and secrets are vault's.

A row stays after its share has ended, as long as vault's tombstone does, so that staff can still see what it held.
"""

from __future__ import annotations

from appliance.core.errors import NotFound
from appliance.records.database import Rows

TOMBSTONE_S = 90 * 86400


def add(rows: Rows, share: str, locator: str, patient: str, documents: list[str], expires_at: int) -> None:
    """Store a share; NotFound("document") if a document is not this patient's any more."""
    for document in documents:
        if rows.one("SELECT 1 FROM documents WHERE patient = ? AND document = ?", patient, document) is None:
            raise NotFound("document")
    rows.change(
        "INSERT INTO shares (share, locator, patient, expires_at) VALUES (?, ?, ?, ?)",
        share,
        locator,
        patient,
        expires_at,
    )
    for document in documents:
        rows.change("INSERT INTO share_documents VALUES (?, ?)", share, document)


def naming(rows: Rows, document: str) -> list[str]:
    """Give every share that names the document."""
    return [str(row[0]) for row in rows.all("SELECT share FROM share_documents WHERE document = ?", document)]


def of_patient(rows: Rows, patient: str) -> list[str]:
    """Give every share of the patient."""
    return [str(row[0]) for row in rows.all("SELECT share FROM shares WHERE patient = ?", patient)]


def live(rows: Rows, now: int, named: set[str] | None) -> set[str]:
    """Give the locators that may lie in the spool; forget shares that ended long ago.

    `named` are the shares that vault has not ended (None: it could not be asked); others are marked as ended.
    """
    rows.change("DELETE FROM shares WHERE expires_at < ?", now - TOMBSTONE_S)
    found = rows.all("SELECT share, locator FROM shares WHERE NOT ended AND expires_at > ?", now)
    if named is not None:
        end(rows, [str(share) for share, _ in found if share not in named])
    return {str(locator) for share, locator in found if named is None or share in named}


def locators(rows: Rows, shares: list[str]) -> list[str]:
    """Give the locators of those shares that are not marked as ended."""
    found = [rows.one("SELECT locator FROM shares WHERE share = ? AND NOT ended", share) for share in shares]
    return [str(row[0]) for row in found if row is not None]


def end(rows: Rows, shares: list[str]) -> None:
    """Mark shares as ended: their folders are gone from the spool."""
    for share in shares:
        rows.change("UPDATE shares SET ended = 1 WHERE share = ?", share)
