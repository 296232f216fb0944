"""One logged-in box, whatever way its patients come: its health, its cap, and a carrier for each patient.

pool.py keeps spare work connections for it, streams.py opens a stream of its control connection.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Protocol

from appliance.core.errors import Unavailable
from appliance.formats.tunnel_control import PING_INTERVAL_S, Frame, Health, Ping, Pong
from provisioning.portal.carriers import Carrier


class ControlEnd(Protocol):
    """What a login may do with its control connection."""

    def say(self, frame: Frame) -> None:
        """Send the box a frame."""

    def hang_up(self) -> None:
        """End the connection at once, with all that passes through it."""

    def leave(self) -> None:
        """End the connection as soon as no patient passes through it."""


class Login(ABC):
    """One control session of one box."""

    __slots__ = ("_control", "_health", "_in_use", "_limit", "box", "closed")

    def __init__(self, box: bytes, limit: int, control: ControlEnd, now: float) -> None:
        self.box = box
        self.closed = False
        self._control = control
        self._health = Health(now)
        self._limit = limit
        self._in_use = 0

    def heard(self, pong: Pong) -> None:
        """Take the box's answer to a ping. Raises Invalid for one to a ping never sent."""
        self._health.heard(pong)

    def tidy(self, now: float) -> float:
        """Do what is due and say when to come again; hang up on a box that is silent (tunnel_control.Health)."""
        match self._health.due(now):
            case Ping() as ping:
                self._control.say(ping)
            case "dead":
                self._control.hang_up()
                return now + PING_INTERVAL_S  # it is logged out before
        return self._health.next_at

    @asynccontextmanager
    async def carrier(self) -> AsyncIterator[Carrier]:
        """Give what carries one patient to the box, closed at the end; Unavailable at the cap or in vain.

        The caller sets the deadline.
        """
        if self._in_use >= self._limit:
            raise Unavailable("box_full")
        self._in_use += 1
        try:
            with closing(await self._take()) as carrier:
                yield carrier
        finally:
            self._in_use -= 1

    def leave(self) -> None:
        """Send the box away; patients who are with it stay."""
        self._control.leave()

    def close(self) -> None:
        """Hang up. Work connections in use go on: their box may be back in a second."""
        if not self.closed:
            self.closed = True
            self._control.hang_up()
            self._forget()

    @abstractmethod
    async def _take(self) -> Carrier:
        """Give a carrier for one patient; Unavailable in vain."""

    def _forget(self) -> None:  # noqa: B027  (nothing waits unless a subclass says so)
        """Let go of what waits, at the end."""
