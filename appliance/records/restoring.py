"""A restore that is under way, as rows: of which box and generation, and the folders whose files it still lacks.

The row stands from the transaction that takes the copy's rows in to the one that ends the restore, so that a restore
goes on where a cut ended it. Plain functions on one transaction's rows; the work itself is restore.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from appliance.records.database import Rows

#: A folder of which so often nothing lay there has nothing to give.
TIMES_EMPTY = 2


@dataclass(frozen=True)
class Restore:
    """Whose generation it is. `given_up`: its rows are gone, its files may not be."""

    box: str
    generation: int
    sealed_at: int
    given_up: bool


def standing(rows: Rows) -> Restore | None:
    """Give the restore that is under way."""
    row = rows.one("SELECT box, generation, sealed_at, given_up FROM restore")
    return None if row is None else Restore(str(row[0]), int(row[1]), int(row[2]), bool(row[3]))


def begin(rows: Rows, restore: Restore) -> None:
    """It is under way from now on; every folder that rows name lacks its files."""
    rows.change(
        "INSERT INTO restore (only_row, box, generation, sealed_at) VALUES (1, ?, ?, ?)",
        restore.box,
        restore.generation,
        restore.sealed_at,
    )
    rows.change(
        """
        INSERT INTO restore_folders (folder)
        SELECT DISTINCT substr(file, 1, 2) FROM (SELECT file FROM documents UNION ALL SELECT file FROM previews)
        """
    )


def folders_left(rows: Rows) -> list[str]:
    """Give the folders that still lack their files."""
    return [str(row[0]) for row in rows.all("SELECT folder FROM restore_folders ORDER BY folder")]


def adopted(rows: Rows, folders: list[str], empty: Collection[str]) -> None:
    """The files of these folders are here, as far as there were any; `empty` ones lack theirs, the first time."""
    rows.change_all(
        "UPDATE restore_folders SET found_empty = found_empty + 1 WHERE folder = ?", [(each,) for each in empty]
    )
    rows.change_all(
        "DELETE FROM restore_folders WHERE folder = ?", [(each,) for each in folders if each not in empty]
    )
    rows.change("DELETE FROM restore_folders WHERE found_empty >= ?", TIMES_EMPTY)


def note_erased(rows: Rows, count: int) -> None:
    """What was erased since is erased again, so many documents."""
    rows.change("UPDATE restore SET erased = ?, erased_again = 1", count)


def is_erased_again(rows: Rows) -> bool:
    """Say whether what was erased since is erased again."""
    return rows.one("SELECT 1 FROM restore WHERE erased_again") is not None


def erased(rows: Rows) -> int:
    """Give how many documents were erased again."""
    row = rows.one("SELECT erased FROM restore")
    return 0 if row is None else int(row[0])


def note_keys_lost(rows: Rows, identifiers: list[str]) -> None:
    """The keys of these documents or previews do not open, and never will."""
    rows.change_all("INSERT OR IGNORE INTO restore_keys_lost VALUES (?)", [(each,) for each in identifiers])


def keys_lost(rows: Rows) -> dict[str, int]:
    """Give file -> sealed length of what is here and has no key that opens."""
    found = rows.all(
        """
        SELECT file, sealed_length FROM documents WHERE document IN (SELECT identifier FROM restore_keys_lost)
        UNION ALL
        SELECT file, sealed_length FROM previews WHERE preview IN (SELECT identifier FROM restore_keys_lost)
        """
    )
    return {str(file): int(length) for file, length in found}


def give_up(rows: Rows) -> None:
    """Its rows go with this transaction."""
    rows.change("UPDATE restore SET given_up = 1")
    for table in ("restore_folders", "restore_erased"):
        rows.change(f"DELETE FROM {table}")  # noqa: S608 (ours)


def end(rows: Rows) -> None:
    """It is not under way any more."""
    for table in ("restore_folders", "restore_erased", "restore_keys_lost", "restore"):
        rows.change(f"DELETE FROM {table}")  # noqa: S608 (ours)
