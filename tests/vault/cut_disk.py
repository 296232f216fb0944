"""A disk and a TPM counter whose power may be cut anywhere: what vault does is recorded, then every cut is made.

The model of the disk is the one of "All File Systems Are Not Created Equal" (Pillai et al., OSDI 2014), at its weakest:
what was written and not yet synced may be there or not, sector by sector (512 bytes), in any order; a name that was
made or moved and whose folder is not yet synced may be there or not; what was synced stays. The counter is a TPM's:
a step that it answered has been taken.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from appliance.vault import files
from appliance.vault.erasure_slots import (
    EMPTY,
    SLOT_BYTES,
    ErasureKey,
    decode_slots,
    encode_slot,
    slot_of,
    unfinished,
)

SECTOR_BYTES = 512
#: How many different disks one cut may leave, besides "all lost" and "all kept".
MIXED_DISKS = 4


@dataclass(frozen=True)
class Step:
    """One thing that happened. `kind`: create, write, sync, move, remove, sync_folder, count, slot, commit, answer."""

    kind: str
    inode: int = 0
    name: str = ""
    other: str = ""
    data: bytes = b""
    offset: int = 0
    value: Any = None


class RecordedOs:
    """Stands in for the module `os` in vault's files.py: does what it is asked and writes it down."""

    def __init__(self, log: list[Step]) -> None:
        self._log = log
        self._inodes = 0
        self._names: dict[str, int] = {}
        self._open: dict[int, int] = {}
        self._at: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        """Open the folder, a new file, or one to append to: that is all that vault does."""
        descriptor = os.open(path, flags, mode)
        name = Path(path).name
        if flags & os.O_TRUNC:
            self._inodes += 1
            self._names[name] = self._inodes
            self._log.append(Step("create", self._inodes, name))
        self._open[descriptor] = self._names.get(name, 0)
        self._at[descriptor] = os.fstat(descriptor).st_size
        return descriptor

    def write(self, descriptor: int, data: bytes) -> int:
        """Write."""
        written = os.write(descriptor, data)
        place = self._at[descriptor]
        self._log.append(Step("write", self._open[descriptor], data=bytes(data[:written]), offset=place))
        self._at[descriptor] = place + written
        return written

    def fsync(self, descriptor: int) -> None:
        """Sync a file, or the folder."""
        os.fsync(descriptor)
        inode = self._open[descriptor]
        self._log.append(Step("sync", inode) if inode else Step("sync_folder"))

    def replace(self, old: Path, new: Path) -> None:
        """Stand in for Path.replace."""
        os.replace(old, new)
        self._names[new.name] = self._names.pop(old.name)
        self._log.append(Step("move", name=old.name, other=new.name))

    def unlink(self, path: Path) -> None:
        """Stand in for Path.unlink."""
        os.unlink(path)
        self._log.append(Step("remove", name=path.name))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have vault's files.py use it."""
        with (
            patch.object(files, "os", self),
            patch.object(Path, "replace", lambda old, new: self.replace(old, new)),
            patch.object(Path, "unlink", lambda path: self.unlink(path)),
        ):
            yield


class CountingTpm:
    """The counter and the slots of a TPM, as vault asks it; both are held against a real one's (`…_are_a_tpms`)."""

    def __init__(self, log: list[Step], count: int = 0, slots: Sequence[bytes] = (EMPTY, EMPTY)) -> None:
        self._log = log
        self.count = count
        self.slots = list(slots)

    async def make_erasure_slots(self, first: ErasureKey, _: bytes) -> None:
        """Begin with one key."""
        self.slots = [EMPTY, EMPTY]
        await self.write_erasure_key(first, b"")

    async def write_erasure_key(self, key: ErasureKey, _: bytes) -> None:
        """Write a slot."""
        self._write_slot(slot_of(key.generation), encode_slot(key))

    async def destroy_erasure_key(self, generation: int, _: bytes) -> None:
        """Overwrite a slot."""
        self._write_slot(slot_of(generation), EMPTY)

    async def read_erasure_keys(self, _: bytes) -> list[ErasureKey]:
        """Give the keys; empty what a write left half done."""
        keys = decode_slots(self.slots)
        for number in unfinished(self.slots):
            self._write_slot(number, EMPTY)
        return keys

    def _write_slot(self, number: int, slot: bytes) -> None:
        """A TPM writes whole or not at all; that is not relied on, so a cut in between leaves half of each."""
        half = slot[: SLOT_BYTES // 2] + self.slots[number][SLOT_BYTES // 2 :]
        for value in (half, slot):
            self.slots[number] = value
            self._log.append(Step("slot", number, data=value))

    async def make_counter(self, _: bytes) -> int:
        """Begin above every count there was."""
        return await self.increment_counter(b"")

    async def read_counter(self, _: bytes) -> int:
        """Give the count."""
        return self.count

    async def increment_counter(self, _: bytes) -> int:
        """Count one up."""
        self.count += 1
        self._log.append(Step("count", value=self.count))
        return self.count


@dataclass
class Disk:
    """What survives and what may not, after some steps."""

    #: Per inode: bytes that are synced, and writes that are not.
    synced: dict[int, bytes] = field(default_factory=dict)
    loose: dict[int, list[Step]] = field(default_factory=dict)
    #: The folder as it is synced, and what was done to it since.
    names: dict[str, int] = field(default_factory=dict)
    loose_names: list[Step] = field(default_factory=list)
    count: int = 0
    slots: list[bytes] = field(default_factory=lambda: [EMPTY, EMPTY])

    def take(self, step: Step) -> None:
        """Go one step on."""
        if step.kind == "create":
            self.synced[step.inode], self.loose[step.inode] = b"", []
            self.loose_names.append(step)
        elif step.kind == "write":
            self.loose[step.inode].append(step)
        elif step.kind == "sync":
            self.synced[step.inode] = _written(self.synced[step.inode], self.loose[step.inode])
            self.loose[step.inode] = []
        elif step.kind in ("move", "remove"):
            self.loose_names.append(step)
        elif step.kind == "sync_folder":
            self.names = _renamed(self.names, self.loose_names)
            self.loose_names = []
        elif step.kind == "count":
            self.count = step.value
        elif step.kind == "slot":
            self.slots[step.inode] = step.data

    def after_a_cut(self, chance: random.Random) -> Iterator[dict[str, bytes]]:
        """Give folders that the cut may leave: name -> bytes."""
        yield self._folder([], lambda _: False)
        yield self._folder(self.loose_names, lambda _: True)
        if not self.loose_names and not any(self.loose.values()):
            return
        yield self._folder(self.loose_names, lambda _: False)
        for _ in range(MIXED_DISKS):
            kept = [step for step in self.loose_names if chance.random() < 0.5]
            yield self._folder(kept, lambda _: chance.random() < 0.5)

    def _folder(self, names: list[Step], keeps: Any) -> dict[str, bytes]:
        folder = {}
        for name, inode in _renamed(self.names, names).items():
            sectors = [piece for step in self.loose[inode] for piece in _sectors(step) if keeps(piece)]
            folder[name] = _written(self.synced[inode], sectors)
        return folder


def _sectors(step: Step) -> Iterator[Step]:
    place = 0
    while place < len(step.data):
        end = min(len(step.data), place + SECTOR_BYTES - (step.offset + place) % SECTOR_BYTES)
        yield Step("write", step.inode, data=step.data[place:end], offset=step.offset + place)
        place = end


def _written(before: bytes, writes: list[Step]) -> bytes:
    after = bytearray(before)
    for step in writes:
        after.extend(bytes(max(0, step.offset + len(step.data) - len(after))))
        after[step.offset : step.offset + len(step.data)] = step.data
    return bytes(after)


def _renamed(before: dict[str, int], steps: list[Step]) -> dict[str, int]:
    after = dict(before)
    for step in steps:
        if step.kind == "create":
            after[step.name] = step.inode
        elif step.kind == "move" and step.name in after:
            after[step.other] = after.pop(step.name)
        elif step.kind == "remove":
            after.pop(step.name, None)
    return after
