"""The state on disk: one change at a time, in memory only after it is synced.

The file holds the whole state as it once was, and what changed since; when that has grown long, or a write failed,
the file is replaced by a whole one.

A change is a pure function from the state to the next one; it is run under the store's lock, so it always sees the
latest. Whoever gets an answer from `change` may rely on it after a power cut, and, where going back would gain
somebody something (rollback.py), after an older file was put back: the file carries a count, and is valid at that
count of the TPM's counter or at the one before.

A counted change is written at the next count and synced, then the TPM counts. A power cut between the two leaves a
file one ahead, which the next start completes. What was written at a count that the TPM had not reached may lie about
somewhere, though it never took effect: so a start, and whatever follows a failed write, use up one count more
(docs/decisions/counted-state.md).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from appliance.core.errors import Tampered
from appliance.core.metrics import Counter
from appliance.vault.clock import Clock
from appliance.vault.files import append_synced, read_capped, write_synced
from appliance.vault.hierarchy import Keys
from appliance.vault.rollback import must_be_counted
from appliance.vault.state import State
from appliance.vault.state_file import (
    MAX_STATE_BYTES,
    RANDOM_BYTES,
    Position,
    decode_file,
    encode_change,
    encode_whole,
)
from appliance.vault.tpm import Tpm

STATE_FILE = "state"
#: The changes may grow as long as the whole state, and at least so long, before they are folded into it.
MIN_CHANGES_BYTES = 1024 * 1024
Change = Callable[[State, int], State]

_writes = Counter("vault_state_writes_total", "Changes of vault's state by how they ended.", ["written", "failed"])
_counts = Counter("vault_state_counts_total", "Steps of the TPM's counter by cause.", ["change", "start"])


class Store:
    """The state, and the file it lies in."""

    def __init__(self, path: Path, keys: Keys, clock: Clock, tpm: Tpm, state: State, position: Position) -> None:
        self._path = path
        self._keys = keys
        self._clock = clock
        self._tpm = tpm
        self._lock = asyncio.Lock()
        self._position = position
        #: True while a state that never took effect may exist, written at the next count.
        self._may_fork = True
        #: What the next write may append to; 0: it writes the state whole.
        self._whole_bytes = 0
        self._changes_bytes = 0
        self.state = state

    @classmethod
    async def make(cls, folder: Path, keys: Keys, clock: Clock, tpm: Tpm, state: State) -> Store:
        """Begin a state and its counter; replaces what a broken-off start of this box left."""
        count = await tpm.make_counter(keys.counter_authorisation)
        store = cls(folder / STATE_FILE, keys, clock, tpm, state, Position(0, count))
        await store._write_counted(state, "start")
        return store

    @classmethod
    async def open(cls, folder: Path, keys: Keys, clock: Clock, tpm: Tpm) -> Store:
        """Read it, raise the clock to it, and make every other file of its count invalid.

        Tampered("state"), also if there is none; Tampered("state_rolled_back") for an older one.
        """
        state, position, count = await cls._read(folder, keys, tpm)
        clock.raise_to(state.seen_at)
        store = cls(folder / STATE_FILE, keys, clock, tpm, state, Position(position.sequence, count))
        await store._write_counted(state, "start")
        return store

    @classmethod
    async def look(cls, folder: Path, keys: Keys, tpm: Tpm) -> State:
        """Give the state without opening it: nothing is written or counted. Failures as `open`."""
        state, _, _ = await cls._read(folder, keys, tpm)
        return state

    @staticmethod
    async def _read(folder: Path, keys: Keys, tpm: Tpm) -> tuple[State, Position, int]:
        try:
            data = read_capped(folder / STATE_FILE, MAX_STATE_BYTES, "state")
        except FileNotFoundError as error:
            raise Tampered("state") from error
        state, position = decode_file(data, keys)
        count = await tpm.read_counter(keys.counter_authorisation)
        if position.count not in (count, count + 1):
            raise Tampered("state_rolled_back")
        return state, position, count

    async def change(self, change: Change) -> State:
        """Give the state after `change(state, now)`, synced; nothing is written if it gives the same object.

        What `change` raises leaves everything as it was; so does Unavailable("storage"). Once begun it goes on to its
        end, whether or not the caller still waits.
        """
        return await asyncio.shield(asyncio.ensure_future(self._change(change)))

    async def use(self, keys: Keys) -> None:
        """Write under these keys from now on: the erasure key turns."""
        async with self._lock:
            self._keys = keys

    async def rewrap(self) -> None:
        """Write the whole state anew, so that the newest erasure key opens it and no other does; synced.

        It is not counted: an older file opens with a key that is about to be destroyed. Once begun it goes on to its
        end. Unavailable("storage") leaves everything as it was.
        """
        await asyncio.shield(asyncio.ensure_future(self._rewrap()))

    async def _rewrap(self) -> None:
        async with self._lock:
            self._whole_bytes = 0
            await self._write(self.state, self._position.count)

    async def _change(self, change: Change) -> State:
        async with self._lock:
            now = self._clock.now()
            changed = change(self.state, now)
            if changed is not self.state:
                changed = replace(changed, seen_at=now)
                try:
                    if must_be_counted(self.state, changed):
                        await self._write_counted(changed, "change")
                    else:
                        await self._write(changed, self._position.count)
                except BaseException:
                    self._whole_bytes = 0  # whatever stands at the file's end now, nothing is appended to it
                    _writes.add("failed")
                    raise
                _writes.add("written")
                self.state = changed
            return changed

    async def _write_counted(self, state: State, why: str) -> None:
        for _ in range(2 if self._may_fork else 1):
            self._may_fork = True
            await self._write(state, self._position.count + 1)
            count = await self._tpm.increment_counter(self._keys.counter_authorisation)
            if count != self._position.count + 1:
                raise Tampered("state_counter")
            self._position = replace(self._position, count=count)
            _counts.add(why)
        self._may_fork = False

    async def _write(self, state: State, count: int) -> None:
        position = replace(self._position, sequence=self._position.sequence + 1, count=count)
        random = secrets.token_bytes(RANDOM_BYTES)
        whole_bytes, self._whole_bytes = self._whole_bytes, 0
        if whole_bytes and self._changes_bytes < max(whole_bytes, MIN_CHANGES_BYTES):
            record, position = encode_change(self.state, state, position, self._keys, random)
            await asyncio.to_thread(append_synced, self._path, record)
            self._changes_bytes += len(record)
        else:
            record, position = encode_whole(state, position, self._keys, random)
            await asyncio.to_thread(write_synced, self._path, record)
            whole_bytes, self._changes_bytes = len(record), 0
        # The count is the TPM's, not the record's: see _write_counted.
        self._position = replace(position, count=self._position.count)
        self._whole_bytes = whole_bytes
