"""vault and gateway, asked with a little patience and not more.

Each call dials anew, so a restarted peer is simply there again. A socket that nobody listens on any more (its file
was replaced while this process sees the old one) never comes back: `PeerGone` ends the process, and systemd
starts it with the sockets that are there now.
"""

from __future__ import annotations

import asyncio

from appliance.core.errors import Unavailable
from appliance.core.varlink import Call, Peer
from appliance.core.varlink.call import ReplyType

RETRY_PAUSE_S = 0.25


class PeerGone(Unavailable):
    """A peer cannot be redialled; the process ends."""


async def ask(peer: Peer, call: Call[ReplyType], *, patience_s: float, descriptor: int | None = None) -> ReplyType:
    """Make a call, dialling again for up to `patience_s`; raises PeerGone("peer_away") then, and what it answers."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience_s
    while True:
        try:
            return await peer.ask(call, descriptor=descriptor)
        except Unavailable as error:
            if error.code != "peer_away":
                raise
            if loop.time() >= give_up_at:
                raise PeerGone("peer_away") from error
        await asyncio.sleep(RETRY_PAUSE_S)
