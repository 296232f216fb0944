"""Asks a log or monitor over HTTPS: the one door to aiohttp's client here.

No proxy, no redirect, no cookie, no compression; every answer has a cap in bytes and in time.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp

from appliance.core.errors import Invalid, Refused, Unavailable

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 64 * 1024
_BUSY = (429, 503)

Query = Sequence[tuple[str, str]]


class Fetcher:
    """Asks one source."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def get(self, path: str, query: Query = (), *, max_bytes: int = MAX_ANSWER_BYTES) -> bytes:
        """Give an answer's body.

        Raises Unavailable("source_away", "source_busy"), Refused("source_certificate"), Invalid("answer_large").
        """
        try:
            async with self._session.get(self._url + path, params=list(query), allow_redirects=False) as answer:
                if answer.status in _BUSY:
                    raise Unavailable("source_busy")
                if answer.status != 200:
                    raise Unavailable("source_away")
                return await _body(answer, max_bytes)
        except aiohttp.ClientConnectorCertificateError as error:
            raise Refused("source_certificate") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable("source_away") from error


@asynccontextmanager
async def asking(url: str, authority: str, timeout_s: float) -> AsyncIterator[Fetcher]:
    """Ask the source at `url`; connections are closed at the end of the block. Invalid("authority")."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    headers: Mapping[str, str] = {"Accept-Encoding": "identity", "User-Agent": "praxissafe-watch"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_context(authority), limit=1),
        timeout=timeout,
        headers=headers,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield Fetcher(session, url)


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for piece in answer.content.iter_chunked(_PIECE_BYTES):
        body += piece
        if len(body) > max_bytes:
            answer.close()
            raise Invalid("answer_large")
    return bytes(body)


def _context(authority: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid("authority") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
