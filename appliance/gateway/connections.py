"""Patients' connections: connected TCP sockets that were passed in, TLS 1.3, HTTP/1.1, all within limits.

gateway opens no socket and listens on none. Rules: a passed descriptor is believed only after the kernel says that it
is a connected TCP stream; the number of connections is capped; each is within the limits of core/http_connection.py;
a bug in answering ends the process. The server owns each socket it took.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import stat
from collections.abc import Callable

from aiohttp import web

from appliance.core.errors import Invalid, Unavailable
from appliance.core.http_connection import HttpLimits, QuietProtocol, forget_requests
from appliance.core.metrics import Counter, gauge
from appliance.gateway import headers
from appliance.gateway.routes import Routes

MAX_LINE_BYTES = 1024
MAX_HEADER_BYTES = 4096
MAX_HEADERS = 48
CLOSE_TIMEOUT_S = 5.0

_taken = Counter(
    "patient_connections_total",
    "Passed connections by outcome.",
    ["served", "full", "no_tls", "not_ready", "invalid"],
)
_open = gauge("patient_connections_open", "Patients' connections that are open now.")


def checked_socket(descriptor: int) -> socket.socket:
    """Give the connected TCP socket of a passed descriptor, which it owns from now on.

    Raises Invalid("connection") for anything else, the descriptor closed. Sources: fstat(2), socket(7), tcp(7).
    """
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Invalid("connection")
    sock = socket.socket(fileno=descriptor)
    try:
        is_tcp = (
            sock.family in (socket.AF_INET, socket.AF_INET6)
            and sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
            and sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP
            and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
        sock.getpeername()
    except OSError as error:
        sock.close()
        raise Invalid("connection") from error
    if not is_tcp:
        sock.close()
        raise Invalid("connection")
    sock.setblocking(False)
    return sock


class Connections:
    """Takes connections and serves them; `context()` gives the TLS context of the moment, or None."""

    def __init__(
        self,
        routes: Routes,
        context: Callable[[], ssl.SSLContext | None],
        *,
        max_connections: int,
        idle_timeout_s: float,
        handshake_timeout_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._routes = routes
        self._context = context
        self._max_connections = max_connections
        self._limits = HttpLimits(MAX_LINE_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, idle_timeout_s)
        self._handshake_timeout_s = handshake_timeout_s
        self._count = 0
        self._handshakes: set[asyncio.Task[None]] = set()
        #: Fails when answering met a bug.
        self.bug: asyncio.Future[None] = loop.create_future()
        self._server = web.Server(self._answer, handler_cancellation=True)

    def take(self, descriptor: int) -> None:
        """Take a passed descriptor and serve it; it is closed here whatever happens.

        Raises Invalid("connection"), Unavailable("full") or Unavailable("certificate").
        """
        try:
            sock = checked_socket(descriptor)
        except Invalid:
            _taken.add("invalid")
            raise
        context = self._context()
        if context is None or self._count >= self._max_connections:
            sock.close()
            _taken.add("not_ready" if context is None else "full")
            raise Unavailable("certificate" if context is None else "full")
        self._change_count(1)
        task = asyncio.get_running_loop().create_task(self._serve(sock, context))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def close(self) -> None:
        """End every connection."""
        for task in self._handshakes:
            task.cancel()
        await self._server.shutdown(CLOSE_TIMEOUT_S)

    async def _serve(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        """Shake hands; the connection is counted until its protocol loses it, or until no handshake came about."""
        protocols: list[QuietProtocol] = []

        def make_protocol() -> QuietProtocol:
            protocol = QuietProtocol(self._server, self._limits, headers.EVERY_ANSWER)
            protocols.append(protocol)
            return protocol

        served = False
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                make_protocol,
                sock,
                ssl=context,
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=CLOSE_TIMEOUT_S,
            )
            served = not transport.is_closing()
            _taken.add("served")
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError: whoever it was speaks no TLS 1.3 to this name
            _taken.add("no_tls")
            sock.close()
        finally:
            if served:
                protocols[0].on_lost = lambda: self._change_count(-1)
            else:
                self._change_count(-1)

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
