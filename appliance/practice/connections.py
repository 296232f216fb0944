"""Staff's connections: TLS 1.3 on the passed listening socket, HTTP/1.1, all within limits.

Rules: the number of connections is capped; a connection that asks nothing is closed; what is no HTTP gets a constant
answer; the library's own messages, which quote what a stranger sent, go nowhere (docs/threats.md, A27).
"""

from __future__ import annotations

import asyncio
import logging
import warnings

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler

from appliance.core.metrics import Counter, gauge
from appliance.practice import headers

MAX_LINE_BYTES = 4096
MAX_HEADER_BYTES = 4096
MAX_HEADERS = 64
#: After an answer that came before the end of an upload, so much of the rest is read: else the browser shows a broken
#: connection in place of the answer.
LINGERING_S = 30.0
CLOSE_TIMEOUT_S = 3.0

_taken = Counter("staff_connections_total", "Connections on the practice network.", ["served", "full"])
_open = gauge("staff_connections_open", "Connections on the practice network that are open now.")

_silent = logging.Logger("silent")
_silent.addHandler(logging.NullHandler())


def silence_libraries() -> None:
    """Keep the libraries' own words out of the journal for this process: warnings and log lines quote file names.

    What practice has to say it says by `journal.say`, in codes and numbers.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)


class StaffProtocol(RequestHandler):
    """One connection's HTTP; says nothing of its own to a stranger but one constant line."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no proper request with a constant; the exception's text stays here."""
        if isinstance(request.writer, AbstractStreamWriter) and request.writer.output_size > 0:
            raise ConnectionError
        answer = web.Response(status=status, headers=headers.EVERY_ANSWER)
        answer.force_close()
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
        self._idle_timeout_s = idle_timeout_s

    async def __aenter__(self) -> Connections:
        await self._runner.setup()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.shutdown(CLOSE_TIMEOUT_S)
        await self._runner.cleanup()

    def make_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol for a connection that was just accepted."""
        count = len(self._server.connections)
        _open.set(count)
        if count >= self._max_connections:
            _taken.add("full")
            return _Full()
        _taken.add("served")
        return StaffProtocol(
            self._server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._idle_timeout_s,
            logger=_silent,
            access_log=None,  # type: ignore[arg-type] # the library takes None and does not say so
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=LINGERING_S,
            auto_decompress=False,
        )

    @property
    def _server(self) -> web.Server:
        server = self._runner.server
        if server is None:
            raise RuntimeError("used outside its block")
        return server
