"""Dial the portal: a control connection (WebSocket in TLS under the pinned authority), a question over the same TLS.

The one door to aiohttp's client. No redirect, no resolver but the system's, no environment is read. Names are looked
up at each dial, IPv6 and IPv4 are tried side by side (RFC 8305). A proxy is asked for a tunnel (CONNECT, RFC 9110
9.3.6) with its credentials; the portal's certificate is checked inside it, and the portal sees nothing of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from appliance.core.errors import Unavailable
from appliance.tunnel.portal_address import PortalAddress
from appliance.tunnel.problems import FAILURES, dial_problem, no_answer
from appliance.tunnel.route import Proxy
from appliance.tunnel.tcp import Address, SocketMaker

MAX_MESSAGE_BYTES = 64 * 1024
#: So much is handed to the transport at most before it is waited for.
HIGH_WATER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Dialling:
    """How to dial: within which time, through which proxy, with what kind of sockets."""

    timeout_s: float
    make_socket: SocketMaker
    proxy: Proxy | None = None


class ControlSocket:
    """A dialled control connection: whole messages, the certificate it was shown, where it leads."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        tls = socket.get_extra_info("ssl_object")
        peer = socket.get_extra_info("peername")
        if tls is None or peer is None:
            raise Unavailable("portal_lost")
        self.certificate_sha256 = hashlib.sha256(tls.getpeercert(binary_form=True)).digest()
        self.address: Address = (peer[0], peer[1])

    async def receive(self) -> bytes | None:
        """Give the next message; None at the end, or for anything that is not binary."""
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else None

    async def send(self, data: bytes) -> None:
        """Send one message, and wait while the transport is full; Unavailable("portal_lost")."""
        try:
            await self._socket.send_bytes(data)
        except ConnectionError as error:
            raise Unavailable("portal_lost") from error


@asynccontextmanager
async def dial_control(
    portal: PortalAddress, path: str, dialling: Dialling, context: ssl.SSLContext
) -> AsyncIterator[ControlSocket]:
    """Dial, check the certificate, upgrade at `path`; closed at the end of the block.

    Raises what `dial_problem` gives: Unavailable (portal_busy with wait_s), Refused.
    """
    async with _client(dialling, context) as session:
        try:
            async with asyncio.timeout(dialling.timeout_s):
                upgraded = await session.ws_connect(
                    portal.url(path),
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                    **_asking(portal, dialling.proxy),
                )
        except FAILURES as error:
            raise dial_problem(error, through_proxy=dialling.proxy is not None) from error
        async with upgraded:
            yield ControlSocket(upgraded)


async def ask_portal(
    portal: PortalAddress, path: str, dialling: Dialling, context: ssl.SSLContext, max_bytes: int
) -> bytes | None:
    """GET a path and give its body, None for 404; raises what `dial_problem` and `no_answer` give."""
    async with _client(dialling, context) as session:
        try:
            async with (
                asyncio.timeout(dialling.timeout_s),
                session.get(portal.url(path), allow_redirects=False, **_asking(portal, dialling.proxy)) as answer,
            ):
                body = bytearray()
                async for piece in answer.content.iter_chunked(max_bytes):
                    body += piece
                    if len(body) > max_bytes:
                        raise Unavailable("portal_answer")
                if answer.status == 200:
                    return bytes(body)
                if answer.status == 404:
                    return None
                raise no_answer(answer.status, answer.headers.get("Retry-After", ""))
        except FAILURES as error:
            raise dial_problem(error, through_proxy=dialling.proxy is not None) from error


def _client(dialling: Dialling, context: ssl.SSLContext) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=context, limit=1, force_close=True, socket_factory=lambda resolved: dialling.make_socket(resolved[0])
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=dialling.timeout_s, sock_read=dialling.timeout_s)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False, middlewares=(_look_first,))


def _asking(portal: PortalAddress, proxy: Proxy | None) -> dict[str, Any]:
    asking: dict[str, Any] = {"headers": {"Host": portal.name}, "server_hostname": portal.name}
    if proxy is not None:
        asking["proxy"] = URL.build(scheme="http", host=proxy.host, port=proxy.port)
        if proxy.user or proxy.password:
            credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password)
            asking["proxy_headers"] = {"Proxy-Authorization": credentials}
    return asking


async def _look_first(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """A portal answers itself or not at all: aiohttp would follow a redirect to any host. Little waits unsent."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.ClientError
    if response.status == 101 and response.connection is not None and response.connection.transport is not None:
        response.connection.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
    return response
