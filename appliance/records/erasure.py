"""The erasure key's turning as rows: which generation keys are wrapped under, and whether an erasure waits for it.

Every row with a wrapped key names the generation that it is wrapped under. One row (`erasure`) says how far a turn
has come, so that it goes on where a power cut ended it:

    generation   no key older than this is taken into a row; greater than `finished` while a turn is under way
    finished     vault has destroyed what was before this
    erased       how many erasures there were
    turned       how many of them had been when the last turn began; if there were more since, another turn is due

Plain functions on one transaction's rows. The turn itself is turning.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from appliance.contracts.vault import WrappedKey
from appliance.core.errors import NotFound, Tampered
from appliance.records.database import Rows


class KeyTurned(Exception):
    """The erasure key has turned since a new key was wrapped: have it wrapped anew."""


@dataclass(frozen=True)
class KeyTable:
    """A table that holds wrapped keys: its primary key, in whose order it lies on the disk, and whose they are."""

    name: str
    place: tuple[str, ...]
    identifier: str

    @property
    def places(self) -> str:
        """The primary key as a row value (sqlite.org/rowvalue.html)."""
        return f"({', '.join(self.place)})"

    @property
    def marks(self) -> str:
        """As many places for values."""
        return f"({', '.join('?' * len(self.place))})"


@dataclass(frozen=True)
class KeyRow:
    """A wrapped key that still has to turn, and the place of its row."""

    place: tuple[str, ...]
    identifier: str
    wrapped: bytes


TABLES = (
    KeyTable("documents", ("patient", "document"), "document"),
    KeyTable("previews", ("document",), "preview"),
)


def adopt(rows: Rows, oldest: int, newest: int) -> None:
    """Hold the database against the generations that vault has; a new database begins with the newest.

    Tampered("database_rolled_back") for a database of before the key turned: it would show what was erased.
    """
    generation, _ = _generations(rows)
    if generation == 0:
        rows.change("UPDATE erasure SET generation = ?, finished = ?", newest, oldest)
    elif generation < oldest:
        raise Tampered("database_rolled_back")
    elif generation > newest:
        raise Tampered("erasure_key")


def check_generation(rows: Rows, key: WrappedKey) -> None:
    """Raise KeyTurned if a row with this key would be left behind by a turn."""
    generation, _ = _generations(rows)
    if key.generation < generation:
        raise KeyTurned


def note_erased(rows: Rows) -> None:
    """An erasure: what was wrapped for it must not open any more."""
    rows.change("UPDATE erasure SET erased = erased + 1")


def due(rows: Rows) -> int | None:
    """Give the generation to turn to: of the turn under way, or of one that an erasure waits for; None if neither."""
    generation, finished = _generations(rows)
    if generation != finished:
        return generation
    waits = rows.one("SELECT 1 FROM erasure WHERE erased > turned")
    return None if waits is None else generation + 1


def begin(rows: Rows, generation: int) -> None:
    """Vault has the next key: take no older one into a row from now on. A second time changes nothing."""
    rows.change("UPDATE erasure SET generation = ?, turned = erased WHERE generation < ?", generation, generation)


def take_keys(rows: Rows, table: KeyTable, generation: int, after: tuple[str, ...], count: int) -> list[KeyRow]:
    """Give up to `count` keys of a table that have not turned yet, in the order of their rows, from `after` on."""
    beyond = f"{table.places} > {table.marks} AND" if after else ""
    found = rows.all(
        f"SELECT {table.identifier}, wrapped_key, {', '.join(table.place)} FROM {table.name} "  # noqa: S608 (TABLES)
        f"WHERE {beyond} key_generation < ? ORDER BY {', '.join(table.place)} LIMIT ?",
        *after,
        generation,
        count,
    )
    return [KeyRow(tuple(place), identifier, bytes(wrapped)) for identifier, wrapped, *place in found]


def put_keys(rows: Rows, table: KeyTable, generation: int, keys: list[tuple[KeyRow, bytes]]) -> None:
    """Put turned keys into their rows, those of them that are still here."""
    rows.change_all(
        f"UPDATE {table.name} SET wrapped_key = ?, key_generation = ? "  # noqa: S608 (names from TABLES)
        f"WHERE {table.places} = {table.marks} AND {table.identifier} = ? AND key_generation < ?",
        [(wrapped, generation, *key.place, key.identifier, generation) for key, wrapped in keys],
    )


def finish(rows: Rows, generation: int) -> None:
    """Vault has destroyed the key before."""
    rows.change("UPDATE erasure SET finished = ?", generation)


def find_key(rows: Rows, identifier: str) -> WrappedKey:
    """Give the wrapped key of a document or preview as it is now; NotFound("document")."""
    for table in TABLES:
        row = rows.one(
            f"SELECT wrapped_key, key_generation FROM {table.name} WHERE {table.identifier} = ?",  # noqa: S608 (TABLES)
            identifier,
        )
        if row is not None:
            return WrappedKey(wrapped=bytes(row[0]), generation=int(row[1]))
    raise NotFound("document")


def _generations(rows: Rows) -> tuple[int, int]:
    row = rows.one("SELECT generation, finished FROM erasure")
    if row is None:
        raise Tampered("database")
    return int(row[0]), int(row[1])
