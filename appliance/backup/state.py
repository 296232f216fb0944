"""What backup remembers: how the last work ended, which generations there are, and a restore that is under way.

One small file, written whole and synced. No secret stands here (store.py), and nothing of a patient.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace

from appliance.contracts.backup import Generation, Outcome
from appliance.contracts.snapshots import ErasedList
from appliance.core.errors import Unavailable
from appliance.core.files import write_whole


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`night_s`: the box's moment of the night, seconds after midnight. `failures`: in a row."""

    night_s: int
    #: Which sixteenth of the files the next restore test fetches.
    portion: int = 0
    last_generation: int = 0
    last_backup: Outcome | None = None
    last_good_at: int = 0
    failures: int = 0
    last_restore: Outcome | None = None
    generations: list[Generation] = []
    #: The list of what was erased as the store has it; None: it has none.
    erased: ErasedList | None = None
    #: The number of the last list that this box saved.
    last_list: int = 0
    #: The generation that is being restored; 0: none.
    restoring: int = 0
    #: records has begun to take it in.
    rows_taken: bool = False
    #: records was asked to finish; whether it has, only records knows.
    finishing: bool = False
    restore_began_at: int = 0


class StateFile:
    """The state and its file."""

    def __init__(self, path: Path, night_s: int) -> None:
        self._path = path
        self.now = State(night_s=night_s)
        if path.exists():
            self.now = msgspec.json.decode(path.read_bytes(), type=State)
        else:
            self.change()

    def change(self, **changes: object) -> None:
        """Change fields and keep them; Unavailable("storage")."""
        changed = replace(self.now, **changes)
        try:
            write_whole(self._path, msgspec.json.encode(changed), mode=0o600)
        except OSError as error:
            raise Unavailable("storage") from error
        self.now = changed
