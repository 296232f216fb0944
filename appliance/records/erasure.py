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
class KeyRow:
    """A wrapped key that still has to turn: of a document, or of a preview."""

    table: str
    identifier: str
    wrapped: bytes


#: The tables that hold wrapped keys, and whose key it is.
TABLES = {"documents": "document", "previews": "preview"}


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


def take_keys(rows: Rows, table: str, generation: int, after: str, count: int) -> list[KeyRow]:
    """Give up to `count` keys of a table that have not turned yet, in the order of their identifiers."""
    identifier = TABLES[table]
    found = rows.all(
        f"SELECT {identifier}, wrapped_key FROM {table} "  # noqa: S608 (names from TABLES)
        f"WHERE {identifier} > ? AND key_generation < ? ORDER BY {identifier} LIMIT ?",
        after,
        generation,
        count,
    )
    return [KeyRow(table, str(name), bytes(wrapped)) for name, wrapped in found]


def put_keys(rows: Rows, table: str, generation: int, keys: list[tuple[str, bytes]]) -> None:
    """Put turned keys into their rows, those of them that are still here."""
    rows.change_all(
        f"UPDATE {table} SET wrapped_key = ?, key_generation = ? "  # noqa: S608 (names from TABLES)
        f"WHERE {TABLES[table]} = ? AND key_generation < ?",
        [(wrapped, generation, name, generation) for name, wrapped in keys],
    )


def finish(rows: Rows, generation: int) -> None:
    """Vault has destroyed the key before."""
    rows.change("UPDATE erasure SET finished = ?", generation)


def find_key(rows: Rows, identifier: str) -> WrappedKey:
    """Give the wrapped key of a document or preview as it is now; NotFound("document")."""
    for table, column in TABLES.items():
        row = rows.one(
            f"SELECT wrapped_key, key_generation FROM {table} WHERE {column} = ?",  # noqa: S608 (names from TABLES)
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
