"""What watch remembers: how far each source was read, and what was found. One small file, written whole and synced.

Nothing here is secret: heads and certificates are public, the page's keys are vault's.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec.structs import replace

from appliance.contracts.watch import Finding, Trouble
from appliance.core.errors import Unavailable
from appliance.core.files import write_whole
from appliance.formats.certificate_log import TreeHead
from appliance.formats.merkle_tree import RightEdge

MAX_FINDINGS = 200


class SourceState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept of any source; `since` is when its trouble began, `heard_at` when it last had none."""

    trouble: Trouble = ""
    since: int = 0
    heard_at: int = 0


class LogState(SourceState, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far a log was read (`edge`), its newest head, and, if it contradicted itself, the heads that show it.

    `broken` is the finding about that; the log is not read again before it is acknowledged.
    """

    head: TreeHead | None = None
    edge: RightEdge = RightEdge()
    broken: str = ""
    evidence: list[TreeHead] = []


class MonitorState(SourceState, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the next page begins, how many were told, and the newest certificate of the page's own among them."""

    after: str = ""
    told: int = 0
    own_not_before: int = 0


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it. Logs by the identifier of their key, monitors by their address."""

    host: str = ""
    logs: dict[str, LogState] = {}
    monitors: dict[str, MonitorState] = {}
    findings: list[Finding] = []


class StateFile:
    """The state and its file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.now = State()
        if path.exists():
            self.now = msgspec.json.decode(path.read_bytes(), type=State)

    def change(self, **changes: object) -> None:
        """Change fields and keep them; Unavailable("storage")."""
        changed = replace(self.now, **changes)
        if changed == self.now:
            return
        try:
            write_whole(self._path, msgspec.json.encode(changed), mode=0o600)
        except OSError as error:
            raise Unavailable("storage") from error
        self.now = changed

    def keep_log(self, log: str, state: LogState) -> None:
        """Keep what is known of a log."""
        self.change(logs={**self.now.logs, log: state})

    def keep_monitor(self, url: str, state: MonitorState) -> None:
        """Keep what is known of a monitor."""
        self.change(monitors={**self.now.monitors, url: state})

    def add(self, finding: Finding) -> bool:
        """Add a finding that is not there yet; the oldest acknowledged go first. False: it was there, or all is full.

        A log that invents certificates can fill the list; what is on it then is alarm enough.
        """
        kept = self.now.findings
        if any(known.finding == finding.finding for known in kept):
            return False
        if len(kept) >= MAX_FINDINGS:
            done = next((known for known in kept if known.acknowledged_at), None)
            if done is None:
                return False
            kept = [known for known in kept if known is not done]
        self.change(findings=[*kept, finding])
        return True
