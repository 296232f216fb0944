"""The share spool: opens a share's files by their exact names, and can do nothing else with it.

gateway may traverse the spool's folders and not read them (mode 0710): who does not know a 128-bit name finds
nothing, and no code here lists. Names are checked before they touch the file system; every step is openat(2) with
O_NOFOLLOW, the folders with O_PATH. Gives ciphertext only; reads happen on the thread pool it is given.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from appliance.core.errors import NotFound

NAME = re.compile(r"[0-9a-f]{32}\Z")
MANIFEST = "manifest"
CHUNK_BYTES = 256 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024
FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Withdrawn(NotFound):
    """The share was revoked while its bytes were being delivered."""


class SealedFile:
    """An open sealed file; `close()` belongs to whoever opened it."""

    def __init__(self, spool: Path, locator: str, name: str, executor: Executor) -> None:
        self._spool = spool
        self._path = f"{locator}/{name}"
        self._executor = executor
        self._descriptor = _open(spool, locator, name)
        self._status = os.fstat(self._descriptor)
        if not stat.S_ISREG(self._status.st_mode):
            self.close()
            raise NotFound("share")

    @property
    def length(self) -> int:
        """The size in bytes; a sealed file never changes."""
        return self._status.st_size

    async def pieces(self, start: int, end: int) -> AsyncIterator[bytes]:
        """Give the bytes [start, end) in pieces of at most CHUNK_BYTES.

        Before each piece the share must still be there; raises Withdrawn when it is not.
        """
        loop = asyncio.get_running_loop()
        while start < end:
            piece = await loop.run_in_executor(self._executor, self._read, start, min(end - start, CHUNK_BYTES))
            start += len(piece)
            yield piece

    def _read(self, start: int, count: int) -> bytes:
        with _folder(self._spool) as folder:
            try:
                here = os.stat(self._path, dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                raise Withdrawn("share") from error
        if (here.st_dev, here.st_ino) != (self._status.st_dev, self._status.st_ino):
            raise Withdrawn("share")
        try:
            piece = os.pread(self._descriptor, count, start)
        except OSError as error:  # the disk cannot read it
            raise Withdrawn("share") from error
        if not piece:
            raise Withdrawn("share")
        return piece

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class Spool:
    """The folder of all shares, by its path."""

    def __init__(self, path: Path, executor: Executor) -> None:
        self._path = path
        self._executor = executor

    async def open_document(self, locator: str, name: str) -> SealedFile:
        """Open a document of a share; NotFound("share") for anything that is not exactly there."""
        if not NAME.match(locator) or not NAME.match(name):
            raise NotFound("share")
        return await self._on_thread(locator, name)

    async def read_manifest(self, locator: str) -> bytes:
        """Give the sealed manifest of a share; NotFound("share") for anything that is not exactly there."""
        if not NAME.match(locator):
            raise NotFound("share")
        file = await self._on_thread(locator, MANIFEST)
        try:
            if file.length > MAX_MANIFEST_BYTES:
                raise NotFound("share")
            return b"".join([piece async for piece in file.pieces(0, file.length)])
        finally:
            file.close()

    async def _on_thread(self, locator: str, name: str) -> SealedFile:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, SealedFile, self._path, locator, name, self._executor)


@contextmanager
def _folder(path: Path | str, parent: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, FOLDER_FLAGS, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(spool: Path, locator: str, name: str) -> int:
    try:
        with _folder(spool) as root, _folder(locator, root) as share:
            return os.open(name, FILE_FLAGS, dir_fd=share)
    except OSError as error:
        raise NotFound("share") from error
