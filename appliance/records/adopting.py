"""Files that backup fetched, on their way into the store: copied and digested in one pass, synced, then in place.

A folder at a time: its files are written into incoming/, synced together, and only then renamed into sealed/; so what
lies in sealed/ is whole, and a folder that a cut ended is simply done again. Blocking; called on the file threads.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import Tampered, Unavailable
from appliance.records.sealed_files import (
    FREE_SPACE_CHECK_BYTES,
    SealedFiles,
    disk_full_is_unavailable,
    sync_folder,
)

READ_BYTES = 1024 * 1024
#: So many files are open at once, and synced together.
FILES_AT_ONCE = 256


@dataclass(frozen=True)
class Adopted:
    """How many files of a folder are here now, their bytes, and how many are not to be had."""

    files: int = 0
    bytes: int = 0
    missing: int = 0

    def __add__(self, other: Adopted) -> Adopted:
        return Adopted(self.files + other.files, self.bytes + other.bytes, self.missing + other.missing)


def adopt_folder(store: SealedFiles, fetched: Path, named: Mapping[str, tuple[int, bytes]]) -> Adopted:
    """Take over what rows name (file -> length, SHA-256) of one folder. Unavailable("disk_full")."""
    done, wanted = Adopted(), list(named.items())
    for start in range(0, len(wanted), FILES_AT_ONCE):
        done += _Batch(store, fetched).adopt(wanted[start : start + FILES_AT_ONCE])
    return done


class _Batch:
    """Files that are copied, then synced, then put in place together."""

    def __init__(self, store: SealedFiles, fetched: Path) -> None:
        self._store = store
        self._fetched = fetched
        self._since_checked = FREE_SPACE_CHECK_BYTES
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._written: list[tuple[str, Path, int]] = []

    def adopt(self, wanted: list[tuple[str, tuple[int, bytes]]]) -> Adopted:
        done = Adopted()
        try:
            with disk_full_is_unavailable():
                for file, (length, digest) in wanted:
                    here = self._is_here(file, length) or self._copy(file, length, digest)
                    done += Adopted(1, length, 0) if here else Adopted(0, 0, 1)
                self._put_in_place()
        finally:
            for _, path, descriptor in self._written:
                os.close(descriptor)
                path.unlink(missing_ok=True)
        return done

    def _is_here(self, file: str, length: int) -> bool:
        with suppress(FileNotFoundError):
            return self._store.path(file).stat().st_size == length
        return False

    def _copy(self, file: str, length: int, digest: bytes) -> bool:
        try:
            source = os.open(self._fetched / file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            about = os.fstat(source)
            if not stat.S_ISREG(about.st_mode) or about.st_size != length:
                return False
            path = self._store.incoming_path()
            target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self._copy_content(source, target, digest)
            except Tampered:
                os.close(target)
                path.unlink()
                return False
            except BaseException:
                os.close(target)
                path.unlink()
                raise
            self._written.append((file, path, target))
            return True
        finally:
            os.close(source)

    def _copy_content(self, source: int, target: int, digest: bytes) -> None:
        read = hashlib.sha256()
        while count := os.readv(source, [self._buffer]):
            self._check_free_space(target, count)
            piece = self._buffer[:count]
            read.update(piece)
            while piece:
                piece = piece[os.write(target, piece) :]
        if read.digest() != digest:
            raise Tampered("document_file")
        # The kernel writes from now on, so that the syncs of the batch are short; what was read is not kept either.
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(source, 0, 0, os.POSIX_FADV_DONTNEED)

    def _check_free_space(self, target: int, count: int) -> None:
        self._since_checked += count
        if self._since_checked >= FREE_SPACE_CHECK_BYTES:
            self._since_checked = 0
            free = os.fstatvfs(target)
            if free.f_bavail * free.f_frsize < self._store.reserve_bytes:
                raise Unavailable("disk_full")

    def _put_in_place(self) -> None:
        for _, _, descriptor in self._written:
            os.fsync(descriptor)
        for file, path, _ in self._written:
            path.rename(self._store.path(file))
        for folder in {self._store.path(file).parent for file, _, _ in self._written}:
            sync_folder(folder)
