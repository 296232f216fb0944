"""One person's HTTP connection, within limits: the library's protocol, made quiet.

Rules: lines and headers are bounded; what is no HTTP gets a constant answer; the library's own messages, which quote
what a stranger sent, go nowhere (docs/threats.md, A27). For the two processes that face people.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web_protocol import RequestHandler

_silent = logging.Logger("silent")
_silent.addHandler(logging.NullHandler())
#: What the URL library remembers of the addresses it has read; a mail program may have put a link's secret into one.
_remembered = [
    found
    for found in gc.get_objects()
    if isinstance(found, type(functools.lru_cache(len))) and str(found.__module__).startswith("yarl.")
]


@dataclass(frozen=True)
class HttpLimits:
    """What one connection may send, and how long it may ask nothing.

    `lingering_s`: after an answer that came before the end of an upload, so long the rest is read; without it a
    browser shows a broken connection in place of the answer.
    """

    max_line_bytes: int
    max_header_bytes: int
    max_headers: int
    idle_timeout_s: float
    lingering_s: float = 0.0


class QuietProtocol(RequestHandler):
    """One connection's HTTP; says nothing of its own to a stranger but one constant line."""

    def __init__(
        self,
        server: web.Server,
        limits: HttpLimits,
        answer_headers: Mapping[str, str],
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_timeout_s,
            logger=_silent,
            access_log=None,  # type: ignore[arg-type] # the library takes None and does not say so
            max_line_size=limits.max_line_bytes,
            max_field_size=limits.max_header_bytes,
            max_headers=limits.max_headers,
            lingering_time=limits.lingering_s,
            auto_decompress=False,
        )
        self._answer_headers = answer_headers
        #: Called once, when the connection is gone.
        self.on_lost: Callable[[], None] = _nothing

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the owner that the connection is gone."""
        super().connection_lost(exc)
        self.on_lost()

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
        answer = web.Response(status=status, headers=self._answer_headers)
        answer.force_close()
        return answer


def forget_requests() -> None:
    """Free what ended requests left behind: the library's remembered addresses, and what only a cycle holds."""
    for cache in _remembered:
        cache.cache_clear()
    gc.collect()


def _nothing() -> None:
    pass
