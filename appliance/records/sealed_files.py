"""The sealed documents on disk: written beside, synced, then renamed into place; only ciphertext touches the disk.

incoming/<random>                        being written; emptied at start
sealed/<2 hex>/<document>-<random>       whole; the two digits are the document's first

Order: the file and its folder are synced before the row is written, so a row always has its file. A file without a
row was never acknowledged, and the key that opens it is in no row: it is removed at start. A row without its file is
a loss that nobody ordered: an alarm. Blocking; called on the file threads. Layout: docs/formats/records-store.md.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.contracts.snapshots import FOLDERS
from appliance.core.errors import NotFound, Tampered, Unavailable
from appliance.core.files import sync_folder
from appliance.core.filesystem import sync_filesystem
from appliance.formats.envelope import SegmentCipher, segment_span
from appliance.formats.streaming_aead import HEADER_BYTES, SEGMENT_BYTES

WRITEBACK_BYTES = 8 * 1024 * 1024
FREE_SPACE_CHECK_BYTES = 16 * 1024 * 1024
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def disk_full_is_unavailable() -> Iterator[None]:
    """Translate a full disk; any other failure of it is for the process to end on."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise Unavailable("disk_full") from error
        raise


class IncomingFile:
    """A file being written. `keep` puts it into its place; `discard` removes it unless it was kept."""

    def __init__(self, store: SealedFiles, path: Path, reserve_bytes: int) -> None:
        self._store = store
        self._path = path
        self._reserve_bytes = reserve_bytes
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._checked_at = -FREE_SPACE_CHECK_BYTES
        self._flushed = 0
        self._digest = hashlib.sha256()
        self.length = 0

    def write(self, sealed: bytes) -> None:
        """Append sealed bytes. Unavailable("disk_full") when the reserve is reached."""
        if self.length - self._checked_at >= FREE_SPACE_CHECK_BYTES:
            self._checked_at = self.length
            self._check_free_space()
        self._digest.update(sealed)
        view = memoryview(sealed)
        with disk_full_is_unavailable():
            while view:
                written = os.write(self._descriptor, view)
                self.length += written
                view = view[written:]
        if self.length - self._flushed >= WRITEBACK_BYTES:
            # Has the kernel start writing now and drop what is written: the last sync is short, and a large
            # document does not push everything else out of memory (posix_fadvise(2), POSIX_FADV_DONTNEED).
            os.posix_fadvise(self._descriptor, 0, self.length, os.POSIX_FADV_DONTNEED)
            self._flushed = self.length

    def digest(self) -> bytes:
        """Give the SHA-256 of what was written."""
        return self._digest.digest()

    def keep(self, document: str) -> str:
        """Sync, put it into its place, sync the place; give the name for the row."""
        name = f"{document[:2]}/{document}-{os.urandom(8).hex()}"
        with disk_full_is_unavailable():
            os.fsync(self._descriptor)
            self._path.rename(self._store.path(name))
            sync_folder(self._store.path(name).parent)
        return name

    def discard(self) -> None:
        """Close; remove the file if it is still incoming."""
        os.close(self._descriptor)
        with suppress(FileNotFoundError):
            self._path.unlink()

    def _check_free_space(self) -> None:
        free = os.fstatvfs(self._descriptor)
        if free.f_bavail * free.f_frsize < self._reserve_bytes:
            raise Unavailable("disk_full")


class SealedFiles:
    """The folders incoming/ and sealed/ under the state folder; made if they are not there."""

    def __init__(self, state: Path, reserve_bytes: int) -> None:
        self._incoming = state / "incoming"
        self._sealed = state / "sealed"
        self.reserve_bytes = reserve_bytes
        for folder in (self._incoming, self._sealed, *(self._sealed / name for name in FOLDERS)):
            folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(self._sealed)
        sync_folder(state)

    def path(self, name: str) -> Path:
        """Give the path of a sealed file; `name` comes from the database."""
        return self._sealed / name

    def receive(self) -> IncomingFile:
        """Begin a file."""
        return IncomingFile(self, self.incoming_path(), self.reserve_bytes)

    def incoming_path(self) -> Path:
        """Give the path of a new file that is removed at start unless it was put in its place."""
        return self._incoming / os.urandom(16).hex()

    def check_free_space(self, more_bytes: int) -> None:
        """Raise Unavailable("disk_full") if so much more would touch the reserve."""
        free = os.statvfs(self._incoming)
        if free.f_bavail * free.f_frsize < self.reserve_bytes + more_bytes:
            raise Unavailable("disk_full")

    def sync_all(self) -> None:
        """Sync whatever was written: many files at once are synced faster than one by one."""
        sync_filesystem(self._incoming)

    def remove(self, names: list[str]) -> None:
        """Remove sealed files and sync that they are gone."""
        for name in names:
            self.path(name).unlink(missing_ok=True)
        for folder in {self.path(name).parent for name in names}:
            sync_folder(folder)

    def count_whole(self, named: Mapping[str, int]) -> int:
        """Count those of `named` (file -> length) that are there in their length."""
        whole = 0
        for name, length in named.items():
            with suppress(FileNotFoundError):
                whole += self.path(name).stat().st_size == length
        return whole

    def empty_incoming(self) -> int:
        """Remove what was being written when the power went; give how many."""
        left = list(self._incoming.iterdir())
        for path in left:
            path.unlink()
        return len(left)

    def sweep(self, folder: str, rows: Mapping[str, int]) -> tuple[int, int]:
        """Hold one folder against its rows (file -> length): give (orphans removed, files missing or cut)."""
        sizes = {f"{folder}/{entry.name}": entry.stat().st_size for entry in os.scandir(self._sealed / folder)}
        orphans = [name for name in sizes if name not in rows]
        if orphans:
            self.remove(orphans)
        return len(orphans), sum(sizes.get(name) != length for name, length in rows.items())


class SealedReader:
    """Opens one sealed file from any offset of its content, a few segments at a time. Close it.

    What comes out is authentic and in its place: every segment is bound to its number and to whether it is the last,
    and lengths come from the database's row. Padding after the content is not read.
    """

    def __init__(
        self, path: Path, sealed_length: int, key: bytes, associated_data: bytes, inner_header: bytes, length: int
    ) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise NotFound("document") from error
        try:
            self._check_size(sealed_length)
            self._cipher = SegmentCipher(key, associated_data, os.pread(self._descriptor, HEADER_BYTES, 0))
        except BaseException:
            self.close()
            raise
        self._inner_header = inner_header
        self._length = length
        self._size = sealed_length

    def pieces(self, first: int) -> Iterator[bytes]:
        """Give the content from offset `first` to its end, one segment a piece."""
        position, end = len(self._inner_header) + first, len(self._inner_header) + self._length
        index = (position + HEADER_BYTES) // (SEGMENT_BYTES - 16)
        while position < end:
            start = index * (SEGMENT_BYTES - 16) - (HEADER_BYTES if index else 0)
            plaintext = self._segment(index)
            if index == 0 and not plaintext.startswith(self._inner_header):
                raise Tampered("document_header")
            yield plaintext[position - start : end - start]
            position, index = start + len(plaintext), index + 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _check_size(self, sealed_length: int) -> None:
        if os.fstat(self._descriptor).st_size != sealed_length:
            raise Tampered("document_file")

    def _segment(self, index: int) -> bytes:
        offset, greatest = segment_span(index)
        last = offset + greatest >= self._size
        return self._cipher.open(index, last, os.pread(self._descriptor, greatest, offset))
