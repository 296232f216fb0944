"""Shares that died and may be made anew, as rows: with the box before, or revoked all at once here.

A snapshot holds no share, only this list (`note_live`, in the copy); so a restored box has it. A document that is
erased leaves the list; a share of which nothing is left leaves it too.
"""

from __future__ import annotations

import os

from appliance.contracts.records import EarlierShare
from appliance.records import documents, patients
from appliance.records.database import Rows


def note_live(rows: Rows, now: int) -> None:
    """Put the shares that are open at `now` on the list, under new identifiers."""
    for share, patient, expires_at in rows.all(
        "SELECT share, patient, expires_at FROM shares WHERE NOT ended AND expires_at > ?", now
    ):
        _note(rows, str(share), str(patient), int(expires_at))


def note_revoked(rows: Rows, revoked: list[str]) -> None:
    """Put shares on the list, each under a new identifier; one whose folder is gone already was there, and is not."""
    for share in revoked:
        row = rows.one("SELECT patient, expires_at FROM shares WHERE share = ? AND NOT ended", share)
        if row is not None:
            _note(rows, share, str(row[0]), int(row[1]))
            rows.change("UPDATE shares SET ended = 1 WHERE share = ?", share)


def listed(rows: Rows) -> list[EarlierShare]:
    """Give the list, by patient."""
    named: dict[tuple[str, str, int], list[str]] = {}
    for share, patient, expires_at, document in rows.all(
        """
        SELECT share, patient, expires_at, document FROM earlier_shares JOIN earlier_share_documents USING (share)
        ORDER BY patient, expires_at, share, document
        """
    ):
        named.setdefault((str(share), str(patient), int(expires_at)), []).append(str(document))
    names = patients.display_names(rows, {patient for _, patient, _ in named})
    titles = documents.titles(
        rows, {(patient, each) for (_, patient, _), several in named.items() for each in several}
    )
    return [
        EarlierShare(
            share=share,
            patient=patient,
            patient_name=names.get(patient, ""),
            documents=several,
            titles=[titles[document] for document in several],
            expires_at=expires_at,
        )
        for (share, patient, expires_at), several in named.items()
    ]


def count(rows: Rows) -> int:
    """Give how many there are."""
    row = rows.one("SELECT count(DISTINCT share) FROM earlier_share_documents")
    return 0 if row is None else int(row[0])


def drop(rows: Rows, shares: list[str]) -> None:
    """Take shares off the list; those that are not on it are off already."""
    rows.change_all("DELETE FROM earlier_shares WHERE share = ?", [(share,) for share in shares])


def _note(rows: Rows, share: str, patient: str, expires_at: int) -> None:
    earlier = os.urandom(16).hex()
    rows.change("INSERT INTO earlier_shares VALUES (?, ?, ?)", earlier, patient, expires_at)
    rows.change(
        "INSERT INTO earlier_share_documents SELECT ?, document FROM share_documents WHERE share = ?", earlier, share
    )
