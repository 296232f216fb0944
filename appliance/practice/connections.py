"""Staff's connections: TLS 1.3 on the passed listening socket, HTTP/1.1, all within limits.

Rules: the number of connections is capped; each is within the limits of core/http_connection.py.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable

from aiohttp import web

from appliance.core.http_connection import HttpLimits, QuietProtocol
from appliance.core.metrics import Counter, gauge
from appliance.practice import headers

MAX_LINE_BYTES = 4096
MAX_HEADER_BYTES = 4096
MAX_HEADERS = 64
LINGERING_S = 30.0
CLOSE_TIMEOUT_S = 3.0

_taken = Counter("staff_connections_total", "Connections on the practice network.", ["served", "full"])
_open = gauge("staff_connections_open", "Connections on the practice network that are open now.")


def silence_libraries() -> None:
    """Keep the libraries' own words out of the journal for this process: warnings and log lines quote file names.

    What practice has to say it says by `journal.say`, in codes and numbers.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


def _expecting(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Answer an unknown expectation with a constant (RFC 9110 10.1.1): the library would quote it, or fail at it."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            return web.Response(status=417, headers=headers.EVERY_ANSWER)
        return await handle(request)

    return answer


class _Full(asyncio.Protocol):
    """Takes a connection there is no place for, and closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Connections:
    """Makes the protocol of each accepted connection; `async with` it."""

    def __init__(self, application: web.Application, *, max_connections: int, idle_timeout_s: float) -> None:
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        self._max_connections = max_connections
        self._limits = HttpLimits(MAX_LINE_BYTES, MAX_HEADER_BYTES, MAX_HEADERS, idle_timeout_s, LINGERING_S)

    async def __aenter__(self) -> Connections:
        await self._runner.setup()
        self._server.request_handler = _expecting(self._server.request_handler)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.shutdown(CLOSE_TIMEOUT_S)
        await self._runner.cleanup()

    def abort(self) -> None:
        """Break every connection off, whatever is being sent on it."""
        for protocol in self._server.connections:
            if protocol.transport is not None:
                protocol.transport.abort()

    def make_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol for a connection that was just accepted."""
        count = len(self._server.connections)
        _open.set(count)
        if count >= self._max_connections:
            _taken.add("full")
            return _Full()
        _taken.add("served")
        return QuietProtocol(self._server, self._limits, headers.EVERY_ANSWER)

    @property
    def _server(self) -> web.Server:
        server = self._runner.server
        if server is None:
            raise RuntimeError("used outside its block")
        return server
