"""Patients' connections while they last: each relayed to the box whose name it asked for, unopened.

Rules it keeps: the box learns who comes by a PROXY v2 header in front (formats/proxy_header.py); a relay in which
no byte moves for the idle time ends; nothing of a patient is kept but the number of bytes (counts.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from appliance.core.errors import Unavailable
from appliance.formats.proxy_header import encode_proxy_header
from provisioning.portal.boxes import Boxes
from provisioning.portal.carriers import Carrier, CopiedCarrier, RawCarrier
from provisioning.portal.copying import Copy
from provisioning.portal.counts import Counts
from provisioning.portal.registry import Registry
from provisioning.portal.relay import Pipes, Relay
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import carrying

#: How long a relay without a byte stays whose patient ended its direction, where the box cannot be told.
LEAVING_S = 15.0

Source = tuple[str, int]


class Patients:
    """All relays."""

    def __init__(self, settings: PortalSettings, registry: Registry, boxes: Boxes, counts: Counts) -> None:
        self._settings = settings
        self._registry = registry
        self._boxes = boxes
        self._counts = counts
        self._pipes = Pipes()
        self._relays: set[Relay | Copy] = set()
        self._none = asyncio.Event()
        self._none.set()

    async def gone(self) -> None:
        """Wait until there is no relay."""
        await self._none.wait()

    async def relay(self, sock: socket.socket, server_name: str | None, source: Source | None) -> None:
        """Relay a patient until it is over; the caller closes `sock`. Raises Unavailable: the box is away or full."""
        box = self._registry.box_of(server_name or "")
        if box is None:
            self._counts.unknown_names += 1
            return
        login = self._boxes.get(box)
        if login is None:
            raise Unavailable("box_away")
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(self._settings.handshake_timeout_s):
                carrier = await stack.enter_async_context(login.carrier())
            carrying(sock, self._settings.idle_timeout_s)
            carrier.greet(encode_proxy_header(source))
            relay = self._connect(sock, carrier)
            self._relays.add(relay)
            self._none.clear()
            self._counts.relays += 1
            self._counts.relays_now = len(self._relays)
            try:
                await relay.run()
            finally:
                self._relays.discard(relay)
                if not self._relays:
                    self._none.set()
                self._counts.relays_now = len(self._relays)
                self._counts.relayed_bytes += relay.moved_bytes

    def tidy(self, now: float) -> None:
        """End the relays in which no byte moved for their time; call about once a second."""
        idle_s = self._settings.idle_timeout_s
        for relay in list(self._relays):
            if now - relay.moved_at >= (min(LEAVING_S, idle_s) if relay.leaving else idle_s):
                self._counts.timeouts += 1
                relay.end()

    def close(self) -> None:
        """Close the kept pipes."""
        self._pipes.close()

    def _connect(self, sock: socket.socket, carrier: Carrier) -> Relay | Copy:
        match carrier:
            case RawCarrier():
                carrying(carrier.sock, self._settings.idle_timeout_s)
                return Relay(sock, carrier.sock, self._pipes)
            case CopiedCarrier():
                return Copy(sock, carrier)
        raise RuntimeError  # there are no others
