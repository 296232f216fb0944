"""Connections to the portal's own TLS: each has a few seconds to do what it came for, or to prove a box.

aiohttp lets a client that never asks anything stay for ever; here it is ended after `limit_s`. A control
connection that proved its box is kept until it ends by itself. `now` is an argument.
"""

from __future__ import annotations

import asyncio


class OwnConnections:
    """The transports that have not proved a box yet, oldest first."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since: dict[asyncio.Transport, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def opened(self, transport: asyncio.Transport, now: float) -> None:
        """Note a connection whose TLS stands."""
        self._since[transport] = now

    def keep(self, transport: asyncio.Transport | None) -> None:
        """Let a connection stay: its box is proved."""
        if transport is not None:
            self._since.pop(transport, None)

    def tidy(self, now: float) -> int:
        """Forget what closed by itself, end what is past its time; give how many that were."""
        ended = 0
        for transport, since in list(self._since.items()):
            if transport.is_closing():
                del self._since[transport]
            elif now - since >= self._limit_s:
                del self._since[transport]
                ended += 1
                transport.abort()
        return ended
