"""What was erased, as rows: identifiers and when, so that a backup of before brings none of it back.

A row comes with the transaction that erases and never goes: which generations there still are, a store says, and a
hostile one may bring an old one back later. The list that backup keeps beside them carries a proof by vault, as a
store could otherwise have a restore erase whatever it names: docs/formats/backup.md.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec

from appliance.contracts.snapshots import ErasedList
from appliance.contracts.values import Id, Seconds
from appliance.core.errors import Tampered
from appliance.records.database import Rows

Kind = Literal["document", "patient"]
VERSION = 1


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a list names; as JSON without blanks, it is what is proven."""

    version: Annotated[int, msgspec.Meta(ge=VERSION, le=VERSION)] = VERSION
    box: Id
    documents: list[tuple[Id, Seconds]]
    patients: list[tuple[Id, Seconds]]

    def digest(self) -> bytes:
        """Give the SHA-256 of what is proven."""
        return hashlib.sha256(msgspec.json.encode(self)).digest()


class _Listed(Named, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The list as it lies in a file: `proof` are 64 hexadecimal digits, none if the box had no kit."""

    proof: Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")]


def note(rows: Rows, kind: Kind, identifier: str, now: int) -> None:
    """It is being erased."""
    rows.change("INSERT OR REPLACE INTO erased VALUES (?, ?, ?)", kind, identifier, now)


def note_named(rows: Rows, named: Named) -> None:
    """What another box's list names is erased here too; what is known already keeps its moment."""
    for kind, listed in (("document", named.documents), ("patient", named.patients)):
        rows.change_all("INSERT OR IGNORE INTO erased VALUES (?, ?, ?)", [(kind, *each) for each in listed])


def summary(rows: Rows) -> ErasedList:
    """Say how many there are and when the last came."""
    row = rows.one("SELECT count(*), coalesce(max(at), 0) FROM erased") or (0, 0)
    return ErasedList(identifiers=row[0], changed_at=row[1])


def named(rows: Rows, box: str) -> Named:
    """Give what this box's list names."""
    return Named(box=box, documents=_of(rows, "document"), patients=_of(rows, "patient"))


def encode(named: Named, proof: bytes) -> bytes:
    """Give a list as a file has it."""
    fields = msgspec.structs.asdict(named)
    return msgspec.json.encode(_Listed(**fields, proof=proof.hex()))


def decode(encoded: bytes) -> tuple[Named, bytes]:
    """Read what the list of any box names, and its proof, which is 32 bytes or none; Tampered("erased_list")."""
    try:
        listed = msgspec.json.decode(encoded, type=_Listed)
    except msgspec.DecodeError as error:
        raise Tampered("erased_list") from error
    fields = msgspec.structs.asdict(listed)
    proof = bytes.fromhex(fields.pop("proof"))
    return Named(**fields), proof


def _of(rows: Rows, kind: Kind) -> list[tuple[str, int]]:
    return [
        (str(identifier), int(at))
        for identifier, at in rows.all("SELECT identifier, at FROM erased WHERE kind = ? ORDER BY identifier", kind)
    ]
