"""Where a restore stands, and so which page of it is shown. Pure.

| step | when |
| --- | --- |
| away | backup does not answer |
| running | it restores now |
| done | the last restore ended well |
| full | this box has patients of its own |
| words | vault holds no two sheets (any more) |
| store | no place is known |
| choose | all is there |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.contracts.backup import BackupState

Step = Literal["away", "running", "done", "full", "words", "store", "choose"]


@dataclass(frozen=True)
class Facts:
    """What the processes say; `is_half` means that records has begun to take in a generation and is not done."""

    state: BackupState | None
    has_sheets: bool
    is_half: bool
    is_empty: bool


def restore_step(facts: Facts) -> Step:
    """Give the step."""
    state = facts.state
    if state is None:
        return "away"
    if state.running is not None and state.running.work == "restore":
        return "running"
    if not facts.is_half:
        if state.last_restore is not None and not state.last_restore.code and not facts.has_sheets:
            return "done"
        if not facts.is_empty:
            return "full"
    if not facts.has_sheets:
        return "words"
    return "choose" if state.store is not None else "store"
