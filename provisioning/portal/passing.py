"""Passing a patient's connection on to the relay that may have the box's tunnel (relays.py says which).

It goes to that relay's port for fronts, with a PROXY header as from a front, unopened. At most MAX_PASSING dials are
under way at a time, so a relay that answers nobody does not take another's descriptors.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from appliance.core.errors import Unavailable
from provisioning.portal.carriers import Carrier, RawCarrier
from provisioning.portal.relays import next_relay, split_address
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import prepare

CONNECT_TIMEOUT_S = 2.0
MAX_PASSING = 256


class Passing:
    """The way from this relay to the next."""

    def __init__(self, settings: PortalSettings) -> None:
        self._settings = settings
        self._dialling = 0

    @asynccontextmanager
    async def carrier(self, box: bytes) -> AsyncIterator[Carrier]:
        """Give a connection to the next relay for this box, closed at the end; Unavailable where it ends here."""
        relay = next_relay(box, self._settings.this_relay, self._settings.relays)
        front = self._settings.relay_fronts.get(relay or "")
        if front is None or self._dialling >= MAX_PASSING:
            raise Unavailable("box_away")
        self._dialling += 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                carrier = RawCarrier(await _dial(*split_address(front)))
        except (OSError, TimeoutError) as error:
            raise Unavailable("box_away") from error
        finally:
            self._dialling -= 1
        with closing(carrier):
            yield carrier


async def _dial(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        prepare(sock)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
