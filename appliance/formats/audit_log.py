"""The audit log's bytes: one line per entry, each carrying the SHA-256 of the line before it.

Layout: docs/formats/audit-log.md. The first line names the log (random, so that two boxes' logs differ), entry 0
carries that line's digest, and so on; the digest of the last line is the head and stands for all of it.

Rules: every line has one spelling; a line that does not continue the chain is Tampered. Entries hold codes and
random pseudonyms only, never a name or free text (docs/threats.md, A27).

Also here: the mark, which says how much of the file has been acknowledged. With it a torn last write is told from a
cut one. Not here: files, syncing, who may append what (appliance/audit).
"""

from __future__ import annotations

import copy
import hashlib
import struct
from typing import Annotated, Literal

import msgspec

from appliance.core.errors import Invalid, Tampered

FORMAT: Literal["praxissafe audit log 1"] = "praxissafe audit log 1"
MAX_LINE_BYTES = 1024
LOG_IDENTIFIER_BYTES = 16
HEAD_BYTES = 32
MAX_AT = 1 << 40

Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z_]{0,47}\Z")]
Pseudonym = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

_MARK = struct.Struct(">16sQQ32s")
_MARK_CONTEXT = b"praxis audit mrk"
MARK_BYTES = _MARK.size + hashlib.sha256().digest_size
#: Two slots, so that a torn write of one leaves the other; each in a block of its own.
MARK_SLOT_OFFSETS = (0, 4096)


class LogHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    format: Literal["praxissafe audit log 1"]
    log: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]


class LogEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry as it stands in its line; `at` is UTC in seconds, "" means that the entry has no such thing."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    at: Annotated[int, msgspec.Meta(ge=0, le=MAX_AT)]
    process: Code
    action: Code
    actor: Pseudonym = ""
    patient: Pseudonym = ""
    document: Pseudonym = ""
    share: Pseudonym = ""
    previous: Digest


class Mark(msgspec.Struct, frozen=True):
    """How far the log has been acknowledged: entries, bytes of the file, and the head there."""

    entries: int
    length: int
    head: bytes


def encode_header(log: bytes) -> bytes:
    """Return the first line for a log's random identifier of 16 bytes."""
    if len(log) != LOG_IDENTIFIER_BYTES:
        raise Invalid("audit_log_identifier")
    return msgspec.json.encode(LogHeader(FORMAT, log.hex())) + b"\n"


def encode_entry(entry: LogEntry) -> bytes:
    """Return an entry's line; Invalid for one that no reader would accept."""
    line = msgspec.json.encode(entry) + b"\n"
    try:
        msgspec.json.decode(line, type=LogEntry)
    except msgspec.DecodeError as error:
        raise Invalid("audit_entry") from error
    return line


def decode_entry(line: bytes) -> LogEntry:
    """Read one line, newline included; Tampered for any other spelling than that of `encode_entry`."""
    try:
        entry = msgspec.json.decode(line, type=LogEntry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Tampered("audit_log") from error
    if len(line) > MAX_LINE_BYTES or msgspec.json.encode(entry) + b"\n" != line:
        raise Tampered("audit_log")
    return entry


def head_of(line: bytes) -> bytes:
    """Return the SHA-256 of a line with its newline: the head after it."""
    return hashlib.sha256(line).digest()


class Chain:
    """Follows a log line by line from its header, and writes the line that continues it."""

    def __init__(self, header_line: bytes) -> None:
        try:
            header = msgspec.json.decode(header_line, type=LogHeader)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Tampered("audit_log") from error
        if msgspec.json.encode(header) + b"\n" != header_line:
            raise Tampered("audit_log")
        self.entries = 0
        self.last_at = 0
        self.head = head_of(header_line)

    def copy(self) -> Chain:
        """Return a chain that goes on from here by itself."""
        return copy.copy(self)

    def follow(self, line: bytes) -> LogEntry:
        """Take the next line of the file; Tampered if it is not the one that comes next."""
        entry = decode_entry(line)
        if entry.index != self.entries or entry.previous != self.head.hex() or entry.at < self.last_at:
            raise Tampered("audit_log")
        self._advance(entry, line)
        return entry

    def continue_with(
        self,
        *,
        at: int,
        process: str,
        action: str,
        actor: str = "",
        patient: str = "",
        document: str = "",
        share: str = "",
    ) -> bytes:
        """Return the next line; its time never falls behind the entry before it."""
        entry = LogEntry(
            index=self.entries,
            at=max(at, self.last_at),
            process=process,
            action=action,
            actor=actor,
            patient=patient,
            document=document,
            share=share,
            previous=self.head.hex(),
        )
        line = encode_entry(entry)
        self._advance(entry, line)
        return line

    def _advance(self, entry: LogEntry, line: bytes) -> None:
        self.entries += 1
        self.last_at = entry.at
        self.head = head_of(line)


def encode_mark(mark: Mark) -> bytes:
    """Return a slot of the mark file, with its own digest so that a torn slot is recognised."""
    packed = _MARK.pack(_MARK_CONTEXT, mark.entries, mark.length, mark.head)
    return packed + hashlib.sha256(packed).digest()


def decode_marks(file: bytes) -> Mark:
    """Return the further of the two slots that are whole; Tampered if none is."""
    marks = []
    for offset in MARK_SLOT_OFFSETS:
        slot = file[offset : offset + MARK_BYTES]
        packed, digest = slot[: _MARK.size], slot[_MARK.size :]
        if len(slot) == MARK_BYTES and hashlib.sha256(packed).digest() == digest:
            context, entries, length, head = _MARK.unpack(packed)
            if context == _MARK_CONTEXT:
                marks.append(Mark(entries, length, head))
    if not marks:
        raise Tampered("audit_mark")
    return max(marks, key=lambda mark: mark.entries)
