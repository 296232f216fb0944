"""The state on disk: one change at a time, in memory only after it is synced.

A change is a pure function from the state to the next one; it is run under the store's lock, so it always sees the
latest. Whoever gets an answer from `change` may rely on it after a power cut.
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
from appliance.vault.files import read_capped, write_synced
from appliance.vault.hierarchy import NONCE_BYTES, Keys
from appliance.vault.state import MAX_STATE_BYTES, State, decode_state, encode_state

STATE_FILE = "state"
Change = Callable[[State, int], State]

_writes = Counter("vault_state_writes_total", "Changes of vault's state by how they ended.", ["written", "failed"])


class Store:
    """The state, and the file it lies in."""

    def __init__(self, path: Path, keys: Keys, clock: Clock, state: State, sequence: int) -> None:
        self._path = path
        self._keys = keys
        self._clock = clock
        self._lock = asyncio.Lock()
        self._sequence = sequence
        self.state = state

    @classmethod
    def make(cls, folder: Path, keys: Keys, clock: Clock, state: State) -> Store:
        """Begin a state; replaces what a broken-off start of this box left."""
        store = cls(folder / STATE_FILE, keys, clock, state, 0)
        store._write(state)
        return store

    @classmethod
    def open(cls, folder: Path, keys: Keys, clock: Clock) -> Store:
        """Read it and raise the clock to it. Tampered("state"), also if there is none."""
        try:
            data = read_capped(folder / STATE_FILE, MAX_STATE_BYTES, "state")
        except FileNotFoundError as error:
            raise Tampered("state") from error
        state, sequence = decode_state(data, keys)
        clock.raise_to(state.seen_at)
        return cls(folder / STATE_FILE, keys, clock, state, sequence)

    async def change(self, change: Change) -> State:
        """Give the state after `change(state, now)`, synced; nothing is written if it gives the same object.

        What `change` raises leaves everything as it was; so does Unavailable("storage").
        """
        async with self._lock:
            now = self._clock.now()
            changed = change(self.state, now)
            if changed is not self.state:
                changed = replace(changed, seen_at=now)
                try:
                    await asyncio.to_thread(self._write, changed)
                except BaseException:
                    _writes.add("failed")
                    raise
                _writes.add("written")
                self.state = changed
            return changed

    def _write(self, state: State) -> None:
        random = secrets.token_bytes(2 * NONCE_BYTES)
        write_synced(self._path, encode_state(state, self._sequence + 1, self._keys, random))
        self._sequence += 1
