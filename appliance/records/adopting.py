"""Files that backup fetched, on their way into the store: copied and digested in one pass, synced, then in place.

Files are written into incoming/, synced all together, and only then renamed into sealed/; so what lies in sealed/ is
whole, and what a cut ended is simply done again. Blocking; called on the file threads, a folder on each.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.core.files import sync_folder
from appliance.records.sealed_files import FREE_SPACE_CHECK_BYTES, SealedFiles, disk_full_is_unavailable

READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Adopted:
    """How many files are here now, their bytes, and how many are not to be had."""

    files: int = 0
    bytes: int = 0
    missing: int = 0

    def __add__(self, other: Adopted) -> Adopted:
        return Adopted(self.files + other.files, self.bytes + other.bytes, self.missing + other.missing)


class Adopting:
    """Some folders' files: `copy_folder` for each, then `put_in_place`; `discard` what was not put there."""

    def __init__(self, store: SealedFiles, fetched: Path) -> None:
        self._store = store
        self._fetched = fetched
        self._written: list[tuple[str, Path]] = []

    def copy_folder(self, named: Mapping[str, tuple[int, bytes]]) -> Adopted:
        """Copy what rows name (file -> length, SHA-256) in one folder. Unavailable("disk_full")."""
        done, copier = Adopted(), _Copier(self._store.reserve_bytes)
        with disk_full_is_unavailable():
            for file, (length, digest) in named.items():
                here = self._is_here(file, length) or self._copy(copier, file, length, digest)
                done += Adopted(1, length, 0) if here else Adopted(0, 0, 1)
        return done

    def is_empty(self, folder: str) -> bool:
        """Say whether nothing at all was fetched of a folder."""
        try:
            with os.scandir(self._fetched / folder) as found:
                return next(found, None) is None
        except FileNotFoundError:
            return True

    def put_in_place(self) -> None:
        """Sync all, put all in their places, sync the places."""
        with disk_full_is_unavailable():
            self._store.sync_all()
            for file, path in self._written:
                path.rename(self._store.path(file))
            for folder in {self._store.path(file).parent for file, _ in self._written}:
                sync_folder(folder)

    def discard(self) -> None:
        """Remove what is not in its place."""
        for _, path in self._written:
            path.unlink(missing_ok=True)

    def _is_here(self, file: str, length: int) -> bool:
        with suppress(FileNotFoundError):
            return self._store.path(file).stat().st_size == length
        return False

    def _copy(self, copier: _Copier, file: str, length: int, digest: bytes) -> bool:
        """Copy one file; False if it is not there, or is not what the row says."""
        try:
            source = os.open(self._fetched / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            about = os.fstat(source)
            if not stat.S_ISREG(about.st_mode) or about.st_size != length:
                return False
            path = self._store.incoming_path()
            self._written.append((file, path))
            if copier.copy(source, path) == digest:
                return True
            self._written.remove((file, path))
            path.unlink()
            return False
        finally:
            os.close(source)


class _Copier:
    """Copies one file after the other, with one buffer, while the disk has room."""

    def __init__(self, reserve_bytes: int) -> None:
        self._reserve_bytes = reserve_bytes
        self._since_checked = FREE_SPACE_CHECK_BYTES
        self._buffer = memoryview(bytearray(READ_BYTES))

    def copy(self, source: int, path: Path) -> bytes:
        """Copy all to a new file and give the SHA-256."""
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            read = hashlib.sha256()
            while count := os.readv(source, [self._buffer]):
                self._check_free_space(target, count)
                piece = self._buffer[:count]
                read.update(piece)
                while piece:
                    piece = piece[os.write(target, piece) :]
            # The kernel writes from now on, so that the sync at the end is short; what was read is not kept either.
            os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)
            return read.digest()
        finally:
            os.close(target)

    def _check_free_space(self, target: int, count: int) -> None:
        self._since_checked += count
        if self._since_checked >= FREE_SPACE_CHECK_BYTES:
            self._since_checked = 0
            free = os.fstatvfs(target)
            if free.f_bavail * free.f_frsize < self._reserve_bytes:
                raise Unavailable("disk_full")
