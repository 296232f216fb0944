"""Dial the authority: HTTPS to the directory's origin and nowhere else. The one door to aiohttp in this process.

No proxy, no redirect, no environment is read; an answer is read up to its cap.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import aiohttp

from appliance.core.errors import Invalid, Refused, Unavailable
from appliance.formats.acme import origin_of

MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Answer:
    """What the authority said; headers that are missing are empty."""

    status: int
    body: bytes
    nonce: str
    location: str
    retry_after: str


class Door:
    """Asks one origin."""

    def __init__(self, session: aiohttp.ClientSession, origin: str) -> None:
        self._session = session
        self._origin = origin

    async def ask(self, method: Literal["GET", "HEAD", "POST"], url: str, body: bytes | None = None) -> Answer:
        """Ask once. Unavailable("authority_unreachable"), ("authority_failed"), Refused("authority_certificate")."""
        try:
            if origin_of(url) != self._origin:
                raise Unavailable("authority_failed")
        except Invalid as error:
            raise Unavailable("authority_failed") from error
        headers = {"Content-Type": "application/jose+json"} if body is not None else {}
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await _read(response)
                return Answer(
                    response.status,
                    content,
                    response.headers.get("Replay-Nonce", ""),
                    response.headers.get("Location", ""),
                    response.headers.get("Retry-After", ""),
                )
        except aiohttp.ClientConnectorCertificateError as error:
            raise Refused("authority_certificate") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable("authority_unreachable") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for piece in response.content.iter_chunked(16384):
        content += piece
        if len(content) > MAX_ANSWER_BYTES:
            raise Unavailable("authority_failed")
    return bytes(content)


@asynccontextmanager
async def open_door(directory: str, directory_ca: str, timeout_s: float) -> AsyncIterator[Door]:
    """Open the door to the directory's origin; closed at the end of the block.

    `directory_ca` is a PEM bundle's path, "" for the system's authorities. Invalid("settings") if it is unreadable.
    """
    try:
        context = ssl.create_default_context(cafile=directory_ca or None)
        origin = origin_of(directory)
    except (OSError, Invalid) as error:
        raise Invalid("settings") from error
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    headers = {"User-Agent": "praxissafe", "Accept-Language": "en"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=1), timeout=timeout, headers=headers, trust_env=False
    ) as session:
        yield Door(session, origin)
