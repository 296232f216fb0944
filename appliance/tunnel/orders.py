"""The portal's orders in one session: which mode its work connections get through by, then every order in that mode.

The mode that worked last is probed first, then the others from the best on; each probe spends one order. What is
ordered meanwhile waits, as long as its token lives. If none gets through, the session ends with `NoWay`, and the
keeper goes on with streams; a wrong certificate ends it with its own code and leads to no other mode.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

from appliance.core.errors import Unavailable
from appliance.formats.tunnel_control import TOKEN_LIFETIME_S
from appliance.tunnel.route import Route
from appliance.tunnel.status import probes
from appliance.tunnel.tcp import Probed, WorkDialler
from appliance.tunnel.work import Outcome, WorkConnections

WorkMode = Literal["raw", "wrapped"]
#: So many connections in a row that end at once mean that the network lets them through no longer.
EARLY_ENDS = 4
#: So often the mode that worked last may give no answer before the network is blamed: a portal to which all boxes
#: come back at once is slow, and would have still more to do if they left for another mode.
SILENT_ROUNDS = 3
MAX_WAITING = 64


class NoWay(Unavailable):
    """Neither raw nor wrapped work connections get through here."""


class Orders:
    """Follows orders; `run` beside the session. `uses` hears the mode."""

    def __init__(
        self,
        dialler: WorkDialler,
        work: WorkConnections,
        route: Route,
        probe_timeout_s: float,
        uses: Callable[[WorkMode], None],
    ) -> None:
        self._dialler = dialler
        self._work = work
        self._route = route
        self._probe_timeout_s = probe_timeout_s
        self._uses = uses
        self._waiting: deque[tuple[bytes, float]] = deque(maxlen=MAX_WAITING)
        self._arrived = asyncio.Event()
        self._early_ends = 0
        self._silent_rounds = 0
        self.mode: WorkMode | None = None

    def follow(self, token: bytes) -> None:
        """Follow one order, or let it wait for the mode."""
        if self.mode is not None and not self._must_probe():
            self._open(self.mode, token)
            return
        self._waiting.append((token, asyncio.get_running_loop().time()))
        self._arrived.set()

    async def run(self) -> None:
        """Probe whenever it is due, until cancelled; NoWay, Refused with a certificate's code."""
        while True:
            await self._arrived.wait()
            if self.mode is None:
                await self._find(self._candidates())
            elif self._must_probe():
                self._route.tries_better()
                await self._find(("raw", "wrapped"))
            while self.mode is not None and (token := self._next_waiting()) is not None:
                self._open(self.mode, token)
            if not self._waiting:
                self._arrived.clear()

    def _must_probe(self) -> bool:
        return self.mode == "wrapped" and self._route.better_is_due()

    def _candidates(self) -> tuple[WorkMode, ...]:
        wrapped_first = self._route.mode == "wrapped" and not self._route.better_is_due()
        return ("wrapped", "raw") if wrapped_first else ("raw", "wrapped")

    async def _find(self, candidates: tuple[WorkMode, ...]) -> None:
        outcomes: dict[WorkMode, Probed] = {}
        for mode in candidates:
            outcomes[mode] = await self._probe(mode)
            if outcomes[mode] == "works":
                self.mode = mode
                self._early_ends = self._silent_rounds = 0
                self._route.found(mode)
                self._uses(mode)
                return
        self.mode = None
        if any(outcome == "silent" for mode, outcome in outcomes.items() if mode == self._route.mode):
            self._silent_rounds += 1
            if self._silent_rounds < SILENT_ROUNDS:
                return  # the next orders are probes again
        raise NoWay("no_way")

    async def _probe(self, mode: WorkMode) -> Probed:
        while (token := self._next_waiting()) is None:
            self._arrived.clear()
            await self._arrived.wait()
        probe = self._dialler.probe_raw if mode == "raw" else self._dialler.probe_wrapped
        outcome = await probe(token, self._probe_timeout_s)
        probes.add(f"{mode}_{outcome}")
        return outcome

    def _next_waiting(self) -> bytes | None:
        """Give the oldest token that still lives long enough to be dialled with."""
        now = asyncio.get_running_loop().time()
        while self._waiting:
            token, arrived_at = self._waiting.popleft()
            if now - arrived_at < TOKEN_LIFETIME_S * 0.9:
                return token
        return None

    def _open(self, mode: WorkMode, token: bytes) -> None:
        self._work.open(self._dialler, mode, token, self._ended)

    def _ended(self, outcome: Outcome) -> None:
        self._early_ends = self._early_ends + 1 if outcome == "early" else 0
        if self._early_ends >= EARLY_ENDS:
            self.mode = None  # the next order is a probe again
