"""A restore: the rows of another box's generation taken in, and its files taken over.

Steps, each of which is done once or not at all: the copy is made ready beside (migrated, keys wrapped anew in vault,
files bound to the box that sealed them); its rows come in one transaction, together with the row that says that a
restore stands; folders of files follow; at last what the old box erased since goes, the row with it: restore_end.py.

Nothing is taken that is not authentic: the database's pages under the key in the bundle, files by the digests in
their rows. docs/formats/backup.md, "A restore".
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import BinaryIO

from appliance.contracts.snapshots import Contents
from appliance.contracts.vault import OldDocumentKey, OpenOldDatabase, RewrapOldDocumentKeys
from appliance.core.errors import NotFound, Refused, Tampered
from appliance.records import erasure, restoring, search, snapshot
from appliance.records.adopting import Adopted, Adopting
from appliance.records.archive import Archive
from appliance.records.copy_check import digests_in
from appliance.records.database import Database, Rows
from appliance.records.erasure import TABLES, KeyRow, KeyTable
from appliance.records.restoring import Restore
from appliance.records.sealed_files import disk_full_is_unavailable
from appliance.records.threads import on_thread

KEYS_AT_ONCE = 2000
READ_BYTES = 1024 * 1024
#: Keys are sealed as soon as the snapshot is whole, which takes minutes; copies are made a day apart.
SEALED_WITHIN_S = 6 * 3600
#: In the order of what refers to what; all columns, as both databases have the same schema.
TAKEN = (
    "patients",
    "patient_words",
    "documents",
    "document_texts",
    "previews",
    "pending_previews",
    "earlier_shares",
    "earlier_share_documents",
    "restore_keys_lost",
)

#: A file's name leads nowhere else, whoever wrote the row.
_IS_NAME = "file GLOB '[0-9a-f][0-9a-f]/?*' AND substr(file, 4) NOT GLOB '*[^0-9a-f-]*'"


async def open_copy(archive: Archive, restore: Restore) -> Contents:
    """Take in the rows of the copy that backup fetched; vault holds its keys. Errors as OpenCopy says."""
    fetched = archive.restored / "snapshot" / "current" / "records.db"
    if not fetched.is_file():
        raise NotFound("copy")
    await archive.database.run(_refuse_unless_empty)
    async with archive.turning:
        key = (await archive.vault.ask(OpenOldDatabase())).key
        beside = await on_thread(archive.file_threads, _copy_beside, archive, fetched)
        try:
            await _make_ready(archive, beside, key, restore)
            contents = await archive.database.take_in(beside, key, lambda rows: _take_in(rows, restore))
        finally:
            for path in (beside, beside.with_name(beside.name + "-journal")):
                path.unlink(missing_ok=True)
        archive.not_restoring.clear()
    return contents


async def adopt(archive: Archive, folders: list[str]) -> Adopted:
    """Take over the files of some folders, each on a thread of its own.

    A folder of which nothing lay there is not adopted: the store may have been away. Asked for once more, it is.
    """
    threads = archive.file_threads
    adopting = Adopting(archive.files, archive.restored / "snapshot" / "current" / "sealed")

    empty: set[str] = set()

    async def adopt_one(folder: str) -> Adopted:
        named = await archive.database.run(partial(digests_in, folder=folder))
        done = await on_thread(threads, adopting.copy_folder, named)
        if named and not done.files and await on_thread(threads, adopting.is_empty, folder):
            empty.add(folder)
        return done

    work = [asyncio.ensure_future(adopt_one(folder)) for folder in dict.fromkeys(folders)]
    try:
        done = await asyncio.gather(*work)
        await on_thread(threads, adopting.put_in_place)
    finally:
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)  # nothing is still being written then
        await on_thread(threads, adopting.discard)
    await archive.database.run(lambda rows: restoring.adopted(rows, folders, empty))
    return sum(done, Adopted())


async def abandon(archive: Archive) -> None:
    """Take all rows and files of the copy away again; nothing to give up changes nothing."""
    if await archive.database.run(restoring.standing) is None:
        return
    await archive.database.run(_give_up)
    await archive.database.forget()
    await archive.sweep_files()
    await archive.database.run(restoring.end)
    archive.not_restoring.set()
    archive.erasure_waits.set()


def _copy_beside(archive: Archive, fetched: Path) -> Path:
    """Copy the fetched database, which may not be written to, to where a start removes it.

    Not more than was there when room was looked for, however backup goes on writing.
    """
    try:
        source = os.open(fetched, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Tampered("copy_database") from error
    with os.fdopen(source, "rb") as reading:
        size = os.fstat(source).st_size
        if not size:
            raise Tampered("copy_database")  # to SQLite it would be a new database
        archive.files.check_free_space(3 * size)  # the copy, the rows here, and the log of taking them in
        beside = archive.files.incoming_path()
        try:
            with disk_full_is_unavailable(), beside.open("xb") as writing:
                _copy(reading, writing, size)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return beside


def _copy(reading: BinaryIO, writing: BinaryIO, size: int) -> None:
    """Copy `size` bytes, which must be all, no more and no less."""
    left = size
    while left and (piece := reading.read(min(left, READ_BYTES))):
        writing.write(piece)
        left -= len(piece)
    if left or reading.read(1):
        raise Tampered("copy_database")


async def _make_ready(archive: Archive, beside: Path, key: bytes, restore: Restore) -> None:
    """Hold every page of the copy, bring it to this release's schema, wrap its keys for this box."""
    try:
        copy = await Database.open(beside, key, "copy")
    except Tampered as error:
        raise Tampered("copy_database") from error
    try:
        await copy.check()
        await copy.run(lambda rows: _hold_moment(rows, restore))
        await copy.run(lambda rows: _bind(rows, restore.box, archive.box.box))
        for table in TABLES:
            await _rewrap(archive, copy, table)
    except Tampered as error:
        if error.code == "database":
            raise Tampered("copy_database") from error
        raise
    finally:
        copy.close()


def _hold_moment(rows: Rows, restore: Restore) -> None:
    """Refuse an older copy beside a newer bundle: both are authentic, and the same key opens both.

    A clock that was wrong once makes one of the bundle's two moments late for good, not both.
    """
    made = snapshot.last(rows)
    if made is not None and made.taken_at + SEALED_WITHIN_S < min(restore.generation, restore.sealed_at):
        raise Tampered("copy_database")


def _bind(rows: Rows, old: str, own: str) -> None:
    """Name the box of files that were the old one's own; what comes back to the box that sealed it is its own."""
    for table in ("documents", "previews"):
        if rows.one(f"SELECT 1 FROM {table} WHERE NOT ({_IS_NAME})") is not None:  # noqa: S608 (ours)
            raise Tampered("copy_database")
        rows.change(f"UPDATE {table} SET sealed_for = ? WHERE sealed_for = ''", old)  # noqa: S608 (ours)
        rows.change(f"UPDATE {table} SET sealed_for = '' WHERE sealed_for = ?", own)  # noqa: S608 (ours)
        rows.change(f"UPDATE {table} SET key_generation = 0")  # noqa: S608 (ours)


async def _rewrap(archive: Archive, copy: Database, table: KeyTable) -> None:
    """Have vault wrap a table's keys for this box."""
    after: tuple[str, ...] = ()
    newest = 1
    while keys := await copy.run(
        partial(erasure.take_keys, table=table, generation=1, after=after, count=KEYS_AT_ONCE)
    ):
        asked = [OldDocumentKey(document=key.identifier, wrapped=key.wrapped) for key in keys]
        answer = await archive.vault.ask(RewrapOldDocumentKeys(documents=asked))
        newest = answer.generation
        turned = list(zip(keys, answer.wrapped, strict=True))
        await copy.run(partial(_put_keys, table=table, generation=newest, turned=turned))
        after = keys[-1].place


def _put_keys(rows: Rows, table: KeyTable, generation: int, turned: list[tuple[KeyRow, bytes | None]]) -> None:
    """Put keys into their rows. One that was lost on the old box stays as it is, opens nothing, and is noted."""
    erasure.put_keys(rows, table, generation, [(key, wrapped or key.wrapped) for key, wrapped in turned])
    restoring.note_keys_lost(rows, [key.identifier for key, wrapped in turned if wrapped is None])


def _take_in(rows: Rows, restore: Restore) -> Contents:
    _refuse_unless_empty(rows)
    for table in TAKEN:
        rows.change(f"INSERT INTO main.{table} SELECT * FROM other.{table}")  # noqa: S608 (names from TAKEN)
    rows.change(
        "INSERT INTO document_words (rowid, names, words) SELECT rowid, names, words FROM other.document_words"
    )
    rows.change("INSERT INTO main.restore_erased SELECT kind, identifier, at FROM other.erased")
    rows.change("UPDATE main.retention_clock SET at = max(at, (SELECT max(at) FROM other.retention_clock))")
    restoring.begin(rows, restore)
    return snapshot.contents_of(rows)


def _refuse_unless_empty(rows: Rows) -> None:
    if rows.one("SELECT 1 FROM main.patients LIMIT 1") is not None:
        raise Refused("not_empty")


def _give_up(rows: Rows) -> None:
    search.forget_all(rows)
    for table in reversed(TAKEN):
        rows.change(f"DELETE FROM {table}")  # noqa: S608 (names from TAKEN)
    erasure.note_erased(rows)
    restoring.give_up(rows)
