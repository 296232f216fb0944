"""Connections to the portal's own TLS: each has a few seconds to do what it came for, or to prove a box.

aiohttp lets a client that never asks anything stay for ever; here it is ended after `limit_s`. A control
connection that proved its box, and a work connection, is kept until it ends by itself. `now` is an argument.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple


class _Visit(NamedTuple):
    since: float
    left: Callable[[], None]


class OwnConnections:
    """The transports that have not proved a box yet, oldest first."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._visits: dict[asyncio.Transport, _Visit] = {}

    def __len__(self) -> int:
        return len(self._visits)

    def opened(self, transport: asyncio.Transport, now: float, left: Callable[[], None]) -> None:
        """Note a connection; `left` is called once, when it is kept, has closed or is ended."""
        self._visits[transport] = _Visit(now, left)

    def keep(self, transport: asyncio.Transport) -> None:
        """Let a connection stay: it is something else now, or gone."""
        visit = self._visits.pop(transport, None)
        if visit is not None:
            visit.left()

    def tidy(self, now: float) -> int:
        """Forget what closed by itself, end what is past its time; give how many that were."""
        ended = 0
        for transport, visit in list(self._visits.items()):
            late = now - visit.since >= self._limit_s
            if late and not transport.is_closing():
                ended += 1
                transport.abort()
            if late or transport.is_closing():
                self.keep(transport)
        return ended
