"""What was erased, as rows: identifiers and when, so that a backup of before brings none of it back.

A row comes with the transaction that erases and never goes: which generations there still are, a store says, and a
hostile one may bring an old one back later. The list that backup keeps beside them: docs/formats/backup.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from appliance.contracts.snapshots import ErasedList
from appliance.contracts.values import Id, Seconds
from appliance.core.errors import Tampered
from appliance.records.database import Rows

Kind = Literal["document", "patient"]
VERSION = 1


class Listed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The list as it lies in a file."""

    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)] = VERSION
    box: Id
    documents: list[tuple[Id, Seconds]]
    patients: list[tuple[Id, Seconds]]


def note(rows: Rows, kind: Kind, identifier: str, now: int) -> None:
    """It is being erased."""
    rows.change("INSERT OR REPLACE INTO erased VALUES (?, ?, ?)", kind, identifier, now)


def summary(rows: Rows) -> ErasedList:
    """Say how many there are and when the last came."""
    row = rows.one("SELECT count(*), coalesce(max(at), 0) FROM erased") or (0, 0)
    return ErasedList(identifiers=row[0], changed_at=row[1])


def encode(rows: Rows, box: str) -> bytes:
    """Give the list of this box as a file has it."""
    return msgspec.json.encode(Listed(box=box, documents=_of(rows, "document"), patients=_of(rows, "patient")))


def decode(encoded: bytes) -> Listed:
    """Read the list of any box; Tampered("erased_list")."""
    try:
        return msgspec.json.decode(encoded, type=Listed)
    except msgspec.DecodeError as error:
        raise Tampered("erased_list") from error


def _of(rows: Rows, kind: Kind) -> list[tuple[str, int]]:
    return [
        (str(identifier), int(at))
        for identifier, at in rows.all("SELECT identifier, at FROM erased WHERE kind = ? ORDER BY identifier", kind)
    ]
