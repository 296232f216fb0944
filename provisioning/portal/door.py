"""The portal's one public port: by its first bytes a connection goes to one of three places.

    ClientHello for the portal's own name   ->  the portal's TLS: /control, /devices, /health
    ClientHello for a registered box        ->  relayed to that box, unopened, behind a PROXY header with its source
    PXW1 and a token                        ->  a work connection, kept for the box that was ordered to open it
    PXP1 and a token                        ->  a probe: answered, and its order spent
    anything else, in time or not           ->  closed, always the same way

Rules it keeps: nothing but the ClientHello is looked at, and it is left in the kernel; no address, name or box is
written anywhere (counts.py); every wait has its limit in settings.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from appliance.core.errors import PraxisError, Unavailable
from appliance.formats.client_hello import ClientHello, read_client_hello
from appliance.formats.proxy_header import encode_proxy_header
from appliance.formats.tunnel_control import WORK_PREFACE_BYTES, WorkPreface, decode_work_preface
from provisioning.portal.authority import PortalContext
from provisioning.portal.boxes import Boxes
from provisioning.portal.carriers import Carrier, CopiedCarrier, RawCarrier
from provisioning.portal.copying import Copy
from provisioning.portal.counts import Counts
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.registry import Registry
from provisioning.portal.relay import Pipes, Relay
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import carrying, look, prepare

ACCEPT_PAUSE_S = 0.1
#: How long a relay without a byte stays whose patient ended its direction, where the box cannot be told.
LEAVING_S = 15.0

Source = tuple[str, int]


def read_first_bytes(first_bytes: bytes) -> ClientHello | WorkPreface | None:
    """Give the ClientHello, or what a work connection says; None for more bytes. Raises Invalid otherwise."""
    if first_bytes.startswith(b"P"):
        return decode_work_preface(first_bytes)
    return read_client_hello(first_bytes)


class Door:
    """Receives every connection. `serve_own` makes the protocol inside the portal's own TLS, under `context()`."""

    def __init__(
        self,
        settings: PortalSettings,
        registry: Registry,
        boxes: Boxes,
        own: OwnConnections,
        counts: Counts,
        serve_own: Callable[[], asyncio.Protocol],
        context: Callable[[], PortalContext],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._boxes = boxes
        self._own = own
        self._counts = counts
        self._serve_own = serve_own
        self._context = context
        self._pipes = Pipes()
        self._relays: set[Relay | Copy] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled; the caller closes `listener`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        sock, address = await loop.sock_accept(listener)
                    except OSError:  # out of descriptors, or the peer is gone already: accept(2)
                        self._counts.broken_connections += 1
                        await asyncio.sleep(ACCEPT_PAUSE_S)
                        continue
                    if self._counts.connections_now + len(self._own) >= self._settings.max_connections:
                        self._counts.over_limit += 1
                        sock.close()
                        continue
                    group.create_task(self._receive(sock, address[:2]))
        finally:
            self._pipes.close()

    def tidy(self, now: float) -> None:
        """End the relays in which no byte moved for the idle time, and lingerers; call about once a second."""
        self._counts.timeouts += self._own.tidy(now)
        for relay in list(self._relays):
            limit_s = (
                min(LEAVING_S, self._settings.idle_timeout_s) if relay.leaving else self._settings.idle_timeout_s
            )
            if now - relay.moved_at >= limit_s:
                self._counts.timeouts += 1
                relay.end()

    async def _receive(self, sock: socket.socket, source: Source) -> None:
        self._counts.connections += 1
        self._counts.connections_now += 1
        with contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            try:
                prepare(sock)
                if await self._place(sock, source):
                    stack.pop_all()
            except TimeoutError:
                self._counts.timeouts += 1
            except Unavailable as error:
                if error.code == "peer_left":
                    self._counts.broken_connections += 1
                else:
                    self._counts.absent_boxes += 1
            except PraxisError:
                self._counts.malformed += 1
            except OSError:
                self._counts.broken_connections += 1
            finally:
                self._counts.connections_now -= 1

    async def _place(self, sock: socket.socket, source: Source) -> bool:
        """Bring a connection to its place; True when its socket has another owner now."""
        async with asyncio.timeout(self._settings.handshake_timeout_s):
            first: ClientHello | WorkPreface = await look(sock, read_first_bytes)
        if isinstance(first, WorkPreface):
            return self._take_work_connection(sock, first)
        if first.server_name == self._settings.portal_name:
            await self._serve_portal(sock)
            return True
        await self._relay(sock, first.server_name, source)
        return False

    def _take_work_connection(self, sock: socket.socket, preface: WorkPreface) -> bool:
        sock.recv(WORK_PREFACE_BYTES)
        now = asyncio.get_running_loop().time()
        if not preface.probe:
            return self._boxes.work_connection_arrived(preface.token, RawCarrier(sock), now)
        if self._boxes.probe_arrived(preface.token, now):
            sock.send(encode_proxy_header(None))
        return False

    async def _serve_portal(self, sock: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            self._serve_own,
            sock,
            ssl=self._context(),
            ssl_handshake_timeout=self._settings.handshake_timeout_s,
        )

    async def _relay(self, sock: socket.socket, server_name: str | None, source: Source) -> None:
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
            self._counts.relays += 1
            self._counts.relays_now = len(self._relays)
            try:
                await relay.run()
            finally:
                self._relays.discard(relay)
                self._counts.relays_now = len(self._relays)
                self._counts.relayed_bytes += relay.moved_bytes

    def _connect(self, sock: socket.socket, carrier: Carrier) -> Relay | Copy:
        match carrier:
            case RawCarrier():
                carrying(carrier.sock, self._settings.idle_timeout_s)
                return Relay(sock, carrier.sock, self._pipes)
            case CopiedCarrier():
                return Copy(sock, carrier)
        raise RuntimeError  # there are no others
