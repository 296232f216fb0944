"""Notices that a peer is away for good, so that the process ends and systemd starts it with new sockets.

A restarted vault is simply redialled; a socket file that was replaced while this process sees the old one never
comes back (docs/processes.md). The watch itself is told the time.
"""

from __future__ import annotations

import asyncio

from appliance.contracts.vault import Box, Describe
from appliance.core.errors import Unavailable
from appliance.core.varlink import Peer

RETRY_PAUSE_S = 0.25


class PeerWatch:
    """Counts how long a peer has been away; `gone` fails with Unavailable("peer_away") when that is too long."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def there(self) -> None:
        """Say that the peer has answered."""
        self._since = None

    def away(self, now: float) -> None:
        """Say that the peer could not be reached at `now`."""
        if self._since is None:
            self._since = now
        elif now - self._since >= self._patience_s and not self.gone.done():
            self.gone.set_exception(Unavailable("peer_away"))


async def describe_box(vault: Peer, *, patience_s: float) -> Box:
    """Ask vault who this box is, dialling again for up to `patience_s`; Unavailable("peer_away") then."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience_s
    while True:
        try:
            box: Box = await vault.ask(Describe())
        except Unavailable:
            if loop.time() >= give_up_at:
                raise
            await asyncio.sleep(RETRY_PAUSE_S)
        else:
            return box
