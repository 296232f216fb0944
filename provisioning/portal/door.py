"""The portal's one public port: by its first bytes a connection goes to one of three places.

    ClientHello for the portal's own name   ->  the portal's TLS: /control, /devices, /health
    ClientHello for a registered box        ->  spliced to one of that box's work connections, unopened
    PXW1 and a token                        ->  a work connection, kept for the box that was ordered to open it
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
from appliance.formats.tunnel_control import WORK_PREFACE_BYTES, WorkPreface, decode_work_preface
from provisioning.portal.authority import PortalContext
from provisioning.portal.boxes import Boxes
from provisioning.portal.counts import Counts
from provisioning.portal.known_boxes import Register
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.relay import Pipes, Relay
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import carrying, look, prepare

ACCEPT_PAUSE_S = 0.1


def read_first_bytes(first_bytes: bytes) -> ClientHello | WorkPreface | None:
    """Give the ClientHello, or what a work connection says; None for more bytes. Raises Invalid otherwise."""
    if first_bytes.startswith(b"P"):
        return decode_work_preface(first_bytes)
    return read_client_hello(first_bytes)


class Door:
    """Receives every connection. `serve_own` makes the protocol of the portal's own TLS, under `context()`."""

    def __init__(
        self,
        settings: PortalSettings,
        registry: Register,
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
        self._relays: set[Relay] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled; the caller closes `listener`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    try:
                        sock, _ = await loop.sock_accept(listener)
                    except OSError:  # out of descriptors, or the peer is gone already: accept(2)
                        self._counts.broken_connections += 1
                        await asyncio.sleep(ACCEPT_PAUSE_S)
                        continue
                    if self._counts.connections_now + len(self._own) >= self._settings.max_connections:
                        self._counts.over_limit += 1
                        sock.close()
                        continue
                    group.create_task(self._receive(sock))
        finally:
            self._pipes.close()

    def tidy(self, now: float) -> None:
        """End the relays in which no byte moved for the idle time, and lingerers; call about once a second."""
        self._counts.timeouts += self._own.tidy(now)
        for relay in list(self._relays):
            if now - relay.moved_at >= self._settings.idle_timeout_s:
                self._counts.timeouts += 1
                relay.end()

    async def _receive(self, sock: socket.socket) -> None:
        self._counts.connections += 1
        self._counts.connections_now += 1
        with contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            try:
                prepare(sock)
                if await self._place(sock):
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

    async def _place(self, sock: socket.socket) -> bool:
        """Bring a connection to its place; True when its socket has another owner now."""
        async with asyncio.timeout(self._settings.handshake_timeout_s):
            first: ClientHello | WorkPreface = await look(sock, read_first_bytes)
        if isinstance(first, WorkPreface):
            return self._keep_work_connection(sock, first.token)
        if first.server_name == self._settings.portal_name:
            await self._serve_portal(sock)
            return True
        await self._relay(sock, first.server_name)
        return False

    def _keep_work_connection(self, sock: socket.socket, token: bytes) -> bool:
        sock.recv(WORK_PREFACE_BYTES)
        return self._boxes.work_connection_arrived(token, sock, asyncio.get_running_loop().time())

    async def _serve_portal(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(
            self._serve_own,
            sock,
            ssl=self._context(),
            ssl_handshake_timeout=self._settings.handshake_timeout_s,
        )
        self._own.opened(transport, loop.time())

    async def _relay(self, sock: socket.socket, server_name: str | None) -> None:
        box = self._registry.box_of(server_name or "")
        if box is None:
            self._counts.unknown_names += 1
            return
        login = self._boxes.get(box)
        if login is None:
            raise Unavailable("box_away")
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(self._settings.handshake_timeout_s):
                work = await stack.enter_async_context(login.work_connection())
            carrying(sock, self._settings.idle_timeout_s)
            carrying(work, self._settings.idle_timeout_s)
            relay = Relay(sock, work, self._pipes)
            self._relays.add(relay)
            self._counts.relays += 1
            self._counts.relays_now = len(self._relays)
            try:
                await relay.run()
            finally:
                self._relays.discard(relay)
                self._counts.relays_now = len(self._relays)
                self._counts.relayed_bytes += relay.moved_bytes
