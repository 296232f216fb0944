"""The log on disk: `log` (lines, append only) and `mark` (how much of it was acknowledged).

Order of an append, docs/formats/audit-log.md: the lines are written and synced, then the mark is written and
synced, then the answer goes. So at start everything up to the mark must be there and follow the chain, or the log is
Tampered and audit ends; bytes after the mark were never acknowledged: whole entries that continue the chain are
kept, a torn rest is cut off.

In memory are the entries' offsets only (8 bytes each); entries are read from the file. Blocking: the owner calls it
from one thread at a time.
"""

from __future__ import annotations

import errno
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.contracts.audit import Append
from appliance.core.errors import Tampered, Unavailable
from appliance.core.files import sync_folder
from appliance.formats.audit_log import (
    LOG_IDENTIFIER_BYTES,
    MARK_BYTES,
    MARK_SLOT_OFFSETS,
    MAX_LINE_BYTES,
    Chain,
    LogEntry,
    Mark,
    decode_entry,
    decode_marks,
    encode_header,
    encode_mark,
)

SEARCHED_ENTRIES = 4096
MARK_FILE_BYTES = MARK_SLOT_OFFSETS[-1] + MARK_BYTES
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def _write_new(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class AuditLog:
    """The verified log of `folder`; raises Tampered if it is not what was acknowledged. Close it."""

    def __init__(self, folder: Path) -> None:
        self._path, self._mark_path = folder / "log", folder / "mark"
        if not self._mark_path.exists():
            self._create(folder)
        elif not self._path.exists():
            raise Tampered("audit_log")
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._mark_file = os.open(self._mark_path, os.O_RDWR | os.O_CLOEXEC)
        self._chain: Chain
        self._end = 0
        self._offsets = array("Q")
        self._slot = 0
        try:
            self._verify(decode_marks(os.pread(self._mark_file, MARK_FILE_BYTES, 0)))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the files."""
        os.close(self._file)
        os.close(self._mark_file)

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self._offsets)

    @property
    def head(self) -> bytes:
        """The SHA-256 of the last line."""
        return self._chain.head

    def append(self, entries: Sequence[tuple[str, Append]], now: int) -> list[tuple[int, bytes]]:
        """Append (process, entry) pairs in order, synced together; give index and head of each.

        Unavailable("disk_full") leaves nothing of them. Any other failure to write is for the process to end on.
        """
        chain = self._chain.copy()
        lines, answers, offsets, end = [], [], [], self._end
        for process, entry in entries:
            line = chain.continue_with(
                at=now,
                process=process,
                action=entry.action,
                actor=entry.actor or "",
                patient=entry.patient or "",
                document=entry.document or "",
                share=entry.share or "",
            )
            offsets.append(end)
            end += len(line)
            lines.append(line)
            answers.append((chain.entries - 1, chain.head))
        self._write(b"".join(lines))
        self._write_mark(Mark(chain.entries, end, chain.head))
        self._chain, self._end = chain, end
        self._offsets.extend(offsets)
        return answers

    def read(self, before: int | None, patient: str | None, count: int) -> list[LogEntry]:
        """Give up to `count` entries with an index below `before`, newest first."""
        stop = self.size if before is None else max(0, min(before, self.size))
        indexes = reversed(range(stop)) if patient is None else self._indexes_of(patient, stop)
        return [self._entry(index) for _, index in zip(range(count), indexes, strict=False)]

    def _entry(self, index: int) -> LogEntry:
        start = self._offsets[index]
        entry = decode_entry(os.pread(self._file, self._offset(index + 1) - start, start))
        if entry.index != index:
            raise Tampered("audit_log")
        return entry

    def _offset(self, index: int) -> int:
        return self._offsets[index] if index < self.size else self._end

    def _indexes_of(self, patient: str, stop: int) -> Iterator[int]:
        """Search the bytes backwards, a block of entries at a time: ten years are read in a fraction of a second."""
        wanted = b'"patient":"%b"' % patient.encode()
        while stop > 0:
            first = max(0, stop - SEARCHED_ENTRIES)
            start = self._offset(first)
            block = os.pread(self._file, self._offset(stop) - start, start)
            position = len(block)
            while (position := block.rfind(wanted, 0, position)) >= 0:
                yield bisect_right(self._offsets, start + position) - 1
            stop = first

    def _create(self, folder: Path) -> None:
        """Make an empty log; a log without its mark and with entries is no new one."""
        header = encode_header(os.urandom(LOG_IDENTIFIER_BYTES))
        if self._path.exists() and self._path.stat().st_size > len(header):
            raise Tampered("audit_mark")
        chain = Chain(header)
        slot = encode_mark(Mark(0, len(header), chain.head))
        _write_new(self._path, header)
        _write_new(folder / "mark.new", slot.ljust(MARK_FILE_BYTES, b"\0"))
        sync_folder(folder)
        (folder / "mark.new").rename(self._mark_path)
        sync_folder(folder)

    def _verify(self, mark: Mark) -> None:
        with self._path.open("rb", buffering=1 << 20) as file:
            header = file.readline(MAX_LINE_BYTES)
            self._chain, self._end = Chain(header), len(header)
            self._check_mark(mark)
            while line := file.readline(MAX_LINE_BYTES + 1):
                try:
                    self._chain.follow(line)
                except Tampered:
                    if self._chain.entries < mark.entries:
                        raise
                    break  # after the mark: torn, never acknowledged
                self._offsets.append(self._end)
                self._end += len(line)
                self._check_mark(mark)
        if self._chain.entries < mark.entries:
            raise Tampered("audit_log")
        if self._end != os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._end)
            os.fsync(self._file)
        self._write_mark(Mark(self._chain.entries, self._end, self._chain.head))

    def _check_mark(self, mark: Mark) -> None:
        if self._chain.entries == mark.entries and (self._end, self._chain.head) != (mark.length, mark.head):
            raise Tampered("audit_log")

    def _write(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            os.ftruncate(self._file, self._end)
            raise Unavailable("disk_full") from error
        os.fdatasync(self._file)  # a failure here ends the process: what is on disk is unknown (fsync(2), EIO)

    def _write_mark(self, mark: Mark) -> None:
        os.pwrite(self._mark_file, encode_mark(mark), MARK_SLOT_OFFSETS[self._slot])
        os.fdatasync(self._mark_file)
        self._slot ^= 1
