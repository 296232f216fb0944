"""Patients' connections: connected sockets that were passed in, PROXY header, TLS 1.3, HTTP/1.1, all within limits.

gateway opens no socket and listens on none. Rules: a passed descriptor is believed only after the kernel says that it
is a connected TCP stream or one end of an unnamed stream pair; the number of connections is capped, in all and for
each patient's address; each is within the limits of core/http_connection.py; a bug in answering ends the process. The
server owns each socket it took.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web

from appliance.core.errors import Invalid, PraxisError, Unavailable
from appliance.core.http_connection import HttpLimits, QuietProtocol, forget_requests
from appliance.core.metrics import Counter, gauge
from appliance.gateway import headers
from appliance.gateway.first_bytes import Holder, look_for_protocols, take_holder
from appliance.gateway.routes import Routes

MAX_LINE_BYTES = 1024
MAX_HEADER_BYTES = 4096
MAX_HEADERS = 48
CLOSE_TIMEOUT_S = 5.0
#: What of an answer waits in this process for a patient who reads slowly; the default is 512 KiB.
UNSENT_BYTES = 64 * 1024

_taken = Counter(
    "patient_connections_total",
    "Passed connections by outcome.",
    ["served", "full", "address_full", "no_header", "no_tls", "not_ready", "invalid"],
)
_open = gauge("patient_connections_open", "Patients' connections that are open now.")


def checked_socket(descriptor: int) -> socket.socket:
    """Give the connected TCP socket, or the end of an unnamed stream pair, of a passed descriptor, and own it.

    Raises Invalid("connection") for anything else, the descriptor closed. Sources: fstat(2), socket(7), tcp(7).
    """
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Invalid("connection")
    sock = socket.socket(fileno=descriptor)
    try:
        believed = _is_connected_stream(sock)
    except OSError as error:
        sock.close()
        raise Invalid("connection") from error
    if not believed:
        sock.close()
        raise Invalid("connection")
    sock.setblocking(False)
    return sock


def _is_connected_stream(sock: socket.socket) -> bool:
    """Look at a socket; OSError where it is not connected.

    Two ends without a name are a socketpair(2): a listener must have one (unix(7); net/unix/af_unix.c, unix_listen).
    So no connection to another process's door, such as vault's, is ever served.
    """
    kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    if kind != socket.SOCK_STREAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return False
    own, peer = sock.getsockname(), sock.getpeername()
    if sock.family == socket.AF_UNIX:
        return not own and not peer
    is_tcp = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
    return is_tcp and sock.family in (socket.AF_INET, socket.AF_INET6)


class Connections:
    """Takes connections and serves them; `context(protocols)` gives the TLS context for what is offered, or None."""

    def __init__(
        self,
        routes: Routes,
        context: Callable[[tuple[bytes, ...]], ssl.SSLContext | None],
        *,
        max_connections: int,
        max_connections_per_address: int,
        idle_timeout_s: float,
        handshake_timeout_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._routes = routes
        self._context = context
        self._max_connections = max_connections
        self._max_connections_per_address = max_connections_per_address
        self._limits = HttpLimits(MAX_LINE_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, idle_timeout_s)
        self._handshake_timeout_s = handshake_timeout_s
        self._count = 0
        self._held: Counts[Holder] = Counts()
        self._serving: set[asyncio.Task[None]] = set()
        #: Fails when answering met a bug.
        self.bug: asyncio.Future[None] = loop.create_future()
        self._server = web.Server(self._answer, handler_cancellation=True)

    def take(self, descriptor: int) -> None:
        """Take a passed descriptor and serve it; it is closed here whatever happens.

        Raises Invalid("connection") or Unavailable("full").
        """
        try:
            sock = checked_socket(descriptor)
        except Invalid:
            _taken.add("invalid")
            raise
        if self._count >= self._max_connections:
            sock.close()
            _taken.add("full")
            raise Unavailable("full")
        self._change_count(1)
        task = asyncio.get_running_loop().create_task(self._serve(sock))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def close(self) -> None:
        """End every connection."""
        for task in self._serving:
            task.cancel()
        await self._server.shutdown(CLOSE_TIMEOUT_S)

    async def _serve(self, sock: socket.socket) -> None:
        """Serve one connection, which is counted until it is lost."""
        deadline = asyncio.get_running_loop().time() + self._handshake_timeout_s
        outcome = "no_header"
        try:
            async with asyncio.timeout_at(deadline):
                holder = await take_holder(sock)
            outcome = "address_full"
            with self._hold(holder):
                outcome = "no_tls"
                async with asyncio.timeout_at(deadline):
                    protocols = await look_for_protocols(sock)
                context = self._context(protocols)
                if context is None:
                    outcome = "not_ready"
                    return
                lost = await self._shake_hands(sock, context)
                outcome = "served"
                _taken.add(outcome)
                await lost.wait()
        except (PraxisError, OSError, TimeoutError):  # ssl.SSLError is an OSError
            pass
        finally:
            if outcome != "served":
                sock.close()
                _taken.add(outcome)
            self._change_count(-1)

    @contextmanager
    def _hold(self, holder: Holder) -> Iterator[None]:
        """Count a connection of this holder; Unavailable("address_full") at the cap."""
        if self._held.get(holder, 0) >= self._max_connections_per_address:
            raise Unavailable("address_full")
        self._held[holder] += 1
        try:
            yield
        finally:
            self._held[holder] -= 1
            if not self._held[holder]:
                del self._held[holder]  # an address is known no longer than it is connected

    async def _shake_hands(self, sock: socket.socket, context: ssl.SSLContext) -> asyncio.Event:
        """Begin TLS and HTTP; the event comes when the connection is lost. Raises OSError or TimeoutError."""
        lost = asyncio.Event()

        def make_protocol() -> QuietProtocol:
            protocol = QuietProtocol(self._server, self._limits, headers.EVERY_ANSWER)
            protocol.on_lost = lost.set
            return protocol

        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
            make_protocol,
            sock,
            ssl=context,
            ssl_handshake_timeout=self._handshake_timeout_s,
            ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
        )
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        if transport.is_closing():  # and may never have told its protocol
            lost.set()
        return lost

    def _change_count(self, change: int) -> None:
        self._count += change
        _open.set(self._count)
        if not self._count:  # freed memory is overwritten (docs/decisions/freed-memory.md): so free it now
            asyncio.get_running_loop().call_soon(forget_requests)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._routes.answer(request)
        except ConnectionError:  # the patient's connection is gone; there is nobody to tell
            raise
        except Exception as error:
            if not self.bug.done():
                self.bug.set_exception(error)
            raise
