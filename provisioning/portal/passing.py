"""Passing a patient's connection on to the relay that may have the box's tunnel (relays.py says which).

It goes to that relay's port for fronts with a PROXY header of its own, as from a front, unopened. At most MAX_PASSING
connections are on their way at a time, so a relay that answers nobody takes none of another's descriptors for long.
"""

from __future__ import annotations

import asyncio
import socket

from appliance.core.errors import Unavailable
from appliance.formats.proxy_header import encode_proxy_header
from provisioning.portal.relays import next_relay, split_address
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import prepare

CONNECT_TIMEOUT_S = 2.0
MAX_PASSING = 256


class Passing:
    """The way from this relay to the next."""

    def __init__(self, settings: PortalSettings) -> None:
        self._settings = settings
        self._connecting = 0

    async def connect(self, box: bytes, patient: tuple[str, int] | None) -> socket.socket:
        """Give a connection to the next relay for this box, on which the header has been said; the caller closes it.

        `patient` is the address the patient came from. Raises Unavailable("box_away") where the way ends here.
        """
        relay = next_relay(box, self._settings.this_relay, self._settings.relays)
        front = self._settings.relay_fronts.get(relay or "")
        if front is None or self._connecting >= MAX_PASSING:
            raise Unavailable("box_away")
        self._connecting += 1
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await _dial(*split_address(front), encode_proxy_header(patient))
        except (OSError, TimeoutError) as error:
            raise Unavailable("box_away") from error
        finally:
            self._connecting -= 1


async def _dial(host: str, port: int, first_bytes: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        prepare(sock)
        await loop.sock_connect(sock, address)
        await loop.sock_sendall(sock, first_bytes)
    except BaseException:
        sock.close()
        raise
    return sock
