"""The portal's one public port: by its first bytes a connection goes to one of its places.

    ClientHello for the portal's own name   ->  the portal's TLS: /control, /devices, /health (inside.py)
    ClientHello for a registered box        ->  relayed to that box, unopened, behind a PROXY header with its source
    PXW1 and a token                        ->  a work connection, kept for the box that was ordered to open it
    PXP1 and a token                        ->  a probe: answered, and its order spent
    anything else, in time or not           ->  closed, always the same way

A second listener, behind a front, expects a PROXY v2 header before that, and believes it; there the portal's own
name may also come as plain HTTP.

Rules it keeps: nothing but the ClientHello is looked at, and it is left in the kernel; no address, name or box is
written anywhere (counts.py); every wait and every number has its limit in settings.py. When all places are taken,
the connection that has said nothing for longest makes room: who speaks at once is served in a flood of the silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from appliance.core.errors import PraxisError, Unavailable
from appliance.formats.client_hello import ClientHello
from appliance.formats.proxy_header import decode_proxy_header, encode_proxy_header
from appliance.formats.tunnel_control import WORK_PREFACE_BYTES, WorkPreface
from provisioning.portal.authority import PortalContext
from provisioning.portal.boxes import Boxes
from provisioning.portal.carriers import RawCarrier
from provisioning.portal.counts import Counts
from provisioning.portal.first_bytes import PlainHttp, read_first_bytes, read_first_bytes_behind_front
from provisioning.portal.limits import Rates, Shares, line_of
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.patients import Patients, Source
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import look, own, prepare

ACCEPT_PAUSE_S = 0.1

#: Makes the protocol inside the portal's own TLS; its argument is called once when the connection is known or gone.
ServeOwn = Callable[[Callable[[], None]], asyncio.Protocol]


class Door:
    """Receives every connection. `context()` is the portal's own TLS."""

    def __init__(
        self,
        settings: PortalSettings,
        boxes: Boxes,
        patients: Patients,
        own_connections: OwnConnections,
        counts: Counts,
        serve_own: ServeOwn,
        context: Callable[[], PortalContext],
    ) -> None:
        self._settings = settings
        self._boxes = boxes
        self._patients = patients
        self._own = own_connections
        self._counts = counts
        self._serve_own = serve_own
        self._context = context
        self._shares = Shares(settings.max_connections_per_address)
        self._handshakes = Rates(settings.max_handshakes_per_s_per_address)
        self._silent: dict[asyncio.Task[None], None] = {}  # have not said yet what they are; oldest first
        self._accepting: list[asyncio.Task[None]] = []
        self._stopping = False

    async def serve(self, listener: socket.socket, front_listener: socket.socket | None) -> None:
        """Accept until `stop_accepting` and until every connection is over; closes the listeners."""
        async with asyncio.TaskGroup() as group:
            for each in (listener, front_listener):
                if each is not None:
                    accepting = self._accept(each, group, behind_front=each is front_listener)
                    self._accepting.append(group.create_task(accepting))

    def stop_accepting(self) -> None:
        """Accept no more than the kernel has let in already; connections go on."""
        self._stopping = True
        for task in self._accepting:
            task.cancel()

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup, *, behind_front: bool) -> None:
        loop = asyncio.get_running_loop()

        def admit(sock: socket.socket, address: Source) -> None:
            if not self._has_room():
                self._counts.over_limit += 1
                sock.close()
                return
            task = group.create_task(self._receive(sock, address[:2], behind_front=behind_front))
            self._silent[task] = None

        with contextlib.closing(listener):
            try:
                while True:
                    try:
                        sock, address = await loop.sock_accept(listener)
                    except OSError:  # out of descriptors, or the peer is gone already: accept(2)
                        self._counts.broken_connections += 1
                        await asyncio.sleep(ACCEPT_PAUSE_S)
                        continue
                    admit(sock, address)
                    await asyncio.sleep(0)  # sock_accept alone gives nobody else a turn in a flood
            finally:
                with contextlib.suppress(OSError):
                    while self._stopping:
                        admit(*listener.accept())

    def _has_room(self) -> bool:
        """Say whether another connection may come in; the longest silent one goes out for it."""
        if self._counts.connections_now + len(self._own) < self._settings.max_connections:
            return True
        if not self._silent:
            return False
        oldest = next(iter(self._silent))
        del self._silent[oldest]
        oldest.cancel()
        self._counts.over_limit += 1
        return True

    async def _receive(self, sock: socket.socket, source: Source, *, behind_front: bool) -> None:
        self._counts.connections += 1
        self._counts.connections_now += 1
        with contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            try:
                prepare(sock)
                with contextlib.ExitStack() as shares:
                    if await self._place(sock, source, shares, behind_front=behind_front):
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
                self._speaks()

    async def _place(
        self, sock: socket.socket, source: Source | None, share: contextlib.ExitStack, *, behind_front: bool
    ) -> bool:
        """Bring a connection to its place; True when its socket has another owner now."""
        async with asyncio.timeout(self._settings.handshake_timeout_s):
            if behind_front:
                header = await look(sock, decode_proxy_header)
                sock.recv(header.length)
                source = (str(header.source[0]), header.source[1]) if header.source else None
            line = line_of(source[0]) if source else b""
            if not self._shares.take(line):
                self._counts.over_limit += 1
                return False
            share.callback(self._shares.give_back, line)
            first = await look(sock, read_first_bytes_behind_front if behind_front else read_first_bytes)
        self._speaks()
        match first:
            case WorkPreface():
                return self._take_work_connection(sock, first)
            case ClientHello(self._settings.portal_name):
                return await self._serve_portal(sock, share, line, self._context())
            case PlainHttp():
                return await self._serve_portal(sock, share, line, None)
            case ClientHello(server_name):
                await self._patients.relay(sock, server_name, source)
        return False

    def _speaks(self) -> None:
        """Count the running task's connection among the silent ones no more."""
        task = asyncio.current_task()
        if task is not None:
            self._silent.pop(task, None)

    def _take_work_connection(self, sock: socket.socket, preface: WorkPreface) -> bool:
        sock.recv(WORK_PREFACE_BYTES)
        now = asyncio.get_running_loop().time()
        if not preface.probe:
            return self._boxes.work_connection_arrived(preface.token, RawCarrier(sock), now)
        if self._boxes.probe_arrived(preface.token, now):
            sock.send(encode_proxy_header(None))
        return False

    async def _serve_portal(
        self, sock: socket.socket, share: contextlib.ExitStack, line: bytes, context: PortalContext | None
    ) -> bool:
        loop = asyncio.get_running_loop()
        if not self._handshakes.take(line, loop.time()):
            self._counts.over_limit += 1
            return False
        own(sock)
        share = share.pop_all()  # it lasts until the connection is known or gone (inside.py)
        try:
            await loop.connect_accepted_socket(
                lambda: self._serve_own(share.close),
                sock,
                ssl=context,
                ssl_handshake_timeout=self._settings.handshake_timeout_s if context else None,
            )
        except BaseException:
            share.close()
            raise
        return True
