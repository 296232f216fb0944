"""A snapshot: rows and files as they were at one moment, laid out for backup to carry away.

The database is copied while other work goes on, and shares begin and end; nothing is erased meanwhile, until every
file that the copy's rows name is linked. So the rows say what was when the copy was whole, and a file has its row
before it has none. What is in the copy and what is not: docs/formats/backup.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import msgspec

from appliance.contracts.snapshots import FOLDERS, Contents, Snapshot
from appliance.core.errors import Unavailable
from appliance.core.journal import say
from appliance.records import earlier_shares
from appliance.records.archive import Archive, files_in
from appliance.records.database import Database, Rows
from appliance.records.sealed_files import disk_full_is_unavailable
from appliance.records.threads import on_thread

VERSION = 1
#: What a box that is restored must not have: shares that are dead, keys of practice software's repetitions.
EMPTIED = ("share_documents", "shares", "intake_keys")


@dataclass(frozen=True)
class Made:
    """What a snapshot was: its mark, when it was taken, how many patients, documents, files and bytes it held."""

    mark: str
    taken_at: int
    counted: tuple[int, ...]


async def make(archive: Archive) -> Snapshot:
    """Make a snapshot in place of an earlier one. Unavailable("disk_full"), Unavailable("restoring")."""
    if not archive.not_restoring.is_set():
        raise Unavailable("restoring")
    files = archive.file_threads
    before = await archive.database.run(last)
    taken_at = max(archive.now, before.taken_at if before else 0)  # a restore holds it against the bundle's moments
    archive.files.check_free_space(await archive.database.size())
    try:
        async with archive.erasing_or_laying_out:
            contents, mark = await _lay_out(archive, taken_at)
        described = {
            "version": VERSION,
            "box": archive.box.box,
            "taken_at": taken_at,
            **msgspec.structs.asdict(contents),
        }
        await on_thread(files, archive.snapshot.finish, msgspec.json.encode(described))
    except BaseException:
        await on_thread(files, archive.snapshot.sweep)  # or it would keep what is erased from now on
        raise
    await archive.database.run(lambda rows: _remember(rows, mark, taken_at, contents))
    return Snapshot(taken_at=taken_at, contents=contents)


async def _lay_out(archive: Archive, taken_at: int) -> tuple[Contents, str]:
    """Copy the database and link what its rows name; give what it holds, and its mark."""
    with disk_full_is_unavailable():
        path = await on_thread(archive.file_threads, archive.snapshot.begin)
    copy = await archive.database.copy(path)
    try:
        contents, mark = await copy.run(lambda rows: _prepare(rows, taken_at))
        await _link(archive, copy)
    finally:
        copy.close()
    return contents, mark


def contents_of(rows: Rows) -> Contents:
    """Count what rows name: patients, documents, files and their bytes."""

    def counted(statement: str) -> tuple[int, ...]:
        row = rows.one(statement)
        return tuple(map(int, row or ()))

    (patients,) = counted("SELECT count(*) FROM patients")
    documents, document_bytes = counted("SELECT count(*), coalesce(sum(sealed_length), 0) FROM documents")
    previews, preview_bytes = counted("SELECT count(*), coalesce(sum(sealed_length), 0) FROM previews")
    return Contents(
        patients=patients, documents=documents, files=documents + previews, bytes=document_bytes + preview_bytes
    )


def last(rows: Rows) -> Made | None:
    """Give what the last snapshot was."""
    row = rows.one("SELECT snapshot, taken_at, patients, documents, files, bytes FROM last_snapshot")
    return None if row is None else Made(str(row[0]), int(row[1]), tuple(map(int, row[2:])))


def _prepare(rows: Rows, now: int) -> tuple[Contents, str]:
    earlier_shares.note_live(rows, now)
    for table in EMPTIED:
        rows.change(f"DELETE FROM {table}")  # noqa: S608 (names from EMPTIED)
    contents, mark = contents_of(rows), os.urandom(16).hex()
    _remember(rows, mark, now, contents)
    return contents, mark


def _remember(rows: Rows, mark: str, taken_at: int, contents: Contents) -> None:
    rows.change(
        "INSERT OR REPLACE INTO last_snapshot VALUES (1, ?, ?, ?, ?, ?, ?)",
        mark,
        taken_at,
        contents.patients,
        contents.documents,
        contents.files,
        contents.bytes,
    )


async def _link(archive: Archive, copy: Database) -> None:
    missing = 0
    for folder in FOLDERS:
        if named := await copy.run(partial(files_in, folder=folder)):
            missing += await on_thread(archive.file_threads, archive.snapshot.link, folder, list(named))
    if missing:
        say("snapshot_files_missing", priority="alert", count=missing)
