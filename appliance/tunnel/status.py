"""What tunnel knows about itself: the state of the control connection, and its metrics."""

from __future__ import annotations

from typing import Literal

from appliance.core import metrics

State = Literal["connected", "connecting", "refused"]

sessions = metrics.Counter(
    "tunnel_sessions_total",
    "Control connections by how they went.",
    ["accepted", "refused", "unreachable", "lost"],
)
connections = metrics.Counter(
    "tunnel_connections_total",
    "Work connections by how they ended here.",
    ["passed", "unused", "failed", "over_limit", "gateway_full"],
)
spares = metrics.gauge("tunnel_spare_connections", "Work connections that wait for a patient.")


class Status:
    """The state, and since when (unix seconds)."""

    def __init__(self, now: int) -> None:
        self.state: State = "connecting"
        self.since = now
        self.spares = 0

    def enter(self, state: State, now: int) -> None:
        """Note a state; staying in it does not move `since`."""
        if state != self.state:
            self.state, self.since = state, now

    def count_spare(self, change: int) -> None:
        """Note that a spare connection came (1) or went (-1)."""
        self.spares += change
        spares.set(self.spares)
