"""What tunnel knows about itself: the state of its control connections, and its metrics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from appliance.contracts.tunnel import Mode
from appliance.core import metrics

State = Literal["connected", "connecting", "refused"]
#: From the best to the one that makes do with least.
MODES: tuple[Mode, ...] = ("raw", "wrapped", "streams")

sessions = metrics.Counter(
    "tunnel_sessions_total",
    "Control connections by how they went.",
    ["accepted", "refused", "unreachable", "lost", "left"],
)
connections = metrics.Counter(
    "tunnel_connections_total",
    "Patients' connections by how they ended here.",
    ["passed", "unused", "failed", "over_limit", "gateway_full"],
)
probes = metrics.Counter(
    "tunnel_probes_total",
    "Probes of a mode by outcome.",
    ["raw_works", "raw_blocked", "raw_silent", "wrapped_works", "wrapped_blocked", "wrapped_silent"],
)
spares = metrics.gauge("tunnel_spare_connections", "Work connections that wait for a patient.")
streams = metrics.gauge("tunnel_streams", "Patients' streams inside control connections.")
relays_connected = metrics.gauge("tunnel_relays_connected", "Relays with a control connection that was accepted.")


@dataclass(slots=True)
class _Relay:
    state: State = "connecting"
    mode: Mode | None = None
    problem: str = ""


class Status:
    """The state over all relays, and since when (unix seconds)."""

    def __init__(self, now: int) -> None:
        self.since = now
        self.spares = 0
        self.streams = 0
        #: Why the relays are not even known; "" if they are.
        self.lookup_problem = ""
        self._state: State = "connecting"
        self._relays: dict[str, _Relay] = {}

    @property
    def state(self) -> State:
        """connected if any relay is; refused if one refuses."""
        return self._state

    @property
    def mode(self) -> Mode | None:
        """The mode that makes do with least among those in use."""
        in_use = [relay.mode for relay in self._relays.values() if relay.state == "connected" and relay.mode]
        return max(in_use, key=MODES.index, default=None)

    @property
    def connected(self) -> int:
        """How many relays are reached."""
        return sum(relay.state == "connected" for relay in self._relays.values())

    @property
    def relays(self) -> int:
        """How many relays are wanted."""
        return max(1, len(self._relays))

    @property
    def problem(self) -> str:
        """The last problem of a relay that is not reached; "" if there is none."""
        for relay in self._relays.values():
            if relay.state != "connected" and relay.problem:
                return relay.problem
        return self.lookup_problem if not self.connected else ""

    def want(self, relays: Collection[str], now: int) -> None:
        """Note which relays are kept from now on."""
        self._relays = {name: self._relays.get(name, _Relay()) for name in relays}
        self._settle(now)

    def enter(self, relay: str, state: State, now: int, problem: str = "") -> None:
        """Note a relay's state; staying in it does not move `since`."""
        known = self._relays.get(relay)
        if known is None:
            return
        known.state, known.problem = state, problem
        if state != "connected":
            known.mode = None
        self._settle(now)

    def uses(self, relay: str, mode: Mode | None) -> None:
        """Note how patients come over a relay."""
        if relay in self._relays:
            self._relays[relay].mode = mode

    def cannot_look_up(self, problem: str, *, refused: bool, now: int) -> None:
        """Note why the relays are not known; "" if they are."""
        self.lookup_problem = problem
        self._settle(now, refused=refused)

    def count_spare(self, change: int) -> None:
        """Note that a spare connection came (1) or went (-1)."""
        self.spares += change
        spares.set(self.spares)

    def count_stream(self, change: int) -> None:
        """Note that a patient's stream came (1) or went (-1)."""
        self.streams += change
        streams.set(self.streams)

    def _settle(self, now: int, *, refused: bool = False) -> None:
        states = {relay.state for relay in self._relays.values()}
        state: State = "connecting"
        if "connected" in states:
            state = "connected"
        elif "refused" in states or refused:
            state = "refused"
        if state != self._state:
            self._state, self.since = state, now
        relays_connected.set(self.connected)
