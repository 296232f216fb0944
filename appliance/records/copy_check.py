"""The restore test: what backup fetched from the store, held against what the last snapshot was.

The fetched database opens under this box's key, every page is authentic, and it is the last snapshot by its mark and
by its counts; each fetched file is what its row says by size and SHA-256. Nothing of it is changed, and nobody who
wants a document waits for it: one file is read at a time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from functools import partial
from pathlib import Path

from appliance.contracts.snapshots import Contents
from appliance.core.errors import Invalid, NotFound, Tampered
from appliance.records import snapshot
from appliance.records.archive import Archive
from appliance.records.database import Database, Rows
from appliance.records.threads import on_thread

READ_BYTES = 1024 * 1024


async def check(archive: Archive, folders: list[str]) -> Contents:
    """Check; errors as in the contract (CheckCopy)."""
    held = archive.restored / "snapshot" / "current"
    if not (held / "records.db").is_file():
        raise NotFound("copy")
    try:
        copy = await archive.database.open_copy(held / "records.db")
        try:
            await copy.check()
            contents = await _hold_counts(archive, copy)
            named = [
                file for folder in folders for file in (await copy.run(partial(digests_in, folder=folder))).items()
            ]
        finally:
            copy.close()
    except (Tampered, Invalid) as error:
        if error.code == "copy_counts":
            raise
        raise Tampered("copy_database") from error
    wrong = [
        file
        for file, what in named  # one at a time: the other threads are for who is waiting for a document
        if not await on_thread(archive.file_threads, is_file, held / "sealed" / file, *what)
    ]
    if count := len(wrong) - await _lost_here(archive, wrong):
        raise Tampered("copy_files", count=count)
    return Contents(
        patients=contents.patients,
        documents=contents.documents,
        files=len(named),
        bytes=sum(length for _, (length, _) in named),
    )


def digests_in(rows: Rows, folder: str) -> dict[str, tuple[int, bytes]]:
    """Give file -> sealed length and SHA-256 of documents and previews in one folder of the store."""
    found = rows.all(
        """
        SELECT file, sealed_length, sealed_sha256 FROM documents WHERE file >= ? AND file < ?
        UNION ALL SELECT file, sealed_length, sealed_sha256 FROM previews WHERE file >= ? AND file < ?
        """,
        *(folder + "/", folder + "0") * 2,
    )
    return {str(file): (int(length), bytes(digest)) for file, length, digest in found}


def is_file(path: Path, length: int, digest: bytes) -> bool:
    """Say whether a file is there and is what its row says."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size != length:
            return False
        read, buffer = hashlib.sha256(), memoryview(bytearray(READ_BYTES))
        while count := os.readv(descriptor, [buffer]):
            read.update(buffer[:count])
        return read.digest() == digest
    finally:
        os.close(descriptor)


async def _lost_here(archive: Archive, files: list[str]) -> int:
    """Count those that this box has lost itself, which is told elsewhere: the row is here and the file is not."""

    def lost(rows: Rows) -> int:
        gone = [file for file in files if not archive.files.path(file).exists()]
        return sum(file in digests_in(rows, file[:2]) for file in gone)

    return await archive.database.run(lost)


async def _hold_counts(archive: Archive, copy: Database) -> Contents:
    made = await archive.database.run(snapshot.last)
    marked = await copy.run(snapshot.last)
    contents = await copy.run(snapshot.contents_of)
    counted = (contents.patients, contents.documents, contents.files, contents.bytes)
    if made is None or marked != made or counted != made.counted:
        raise Tampered("copy_counts")
    return contents
