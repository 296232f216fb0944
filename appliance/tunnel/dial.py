"""Dial the portal: a control connection (WebSocket in TLS under the pinned authority), a work connection (plain TCP).

The one door to aiohttp's client and to TCP in this process. No proxy, no redirect, no resolver but the system's, no
environment is read. Work connections go to the very address that the control connection reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from appliance.core.errors import Refused, Unavailable
from appliance.formats.tunnel_control import encode_work_preface
from appliance.tunnel.portal_address import PortalAddress

MAX_MESSAGE_BYTES = 64 * 1024
DEAD_AFTER_MS = 20_000
KEEPALIVE_IDLE_S = 20
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNSENT_BYTES = 128 * 1024
MAX_RETRY_AFTER_S = 600

Address = tuple[str, int]


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
        return bytes(message.data) if message.type is aiohttp.WSMsgType.BINARY else None

    async def send(self, data: bytes) -> None:
        """Send one message; Unavailable("portal_lost")."""
        try:
            await self._socket.send_bytes(data)
        except ConnectionError as error:
            raise Unavailable("portal_lost") from error


@asynccontextmanager
async def dial_control(portal: PortalAddress, timeout_s: float) -> AsyncIterator[ControlSocket]:
    """Dial, check the certificate, upgrade; closed at the end of the block.

    Raises Unavailable("portal_unreachable", or "portal_busy" with wait_s), Refused("portal_certificate").
    """
    connector = aiohttp.TCPConnector(
        ssl=portal.context(), limit=1, force_close=True, socket_factory=_control_tcp_socket
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, trust_env=False, middlewares=(_take_no_redirect,)
    ) as session:
        try:
            async with asyncio.timeout(timeout_s):
                upgraded = await session.ws_connect(
                    portal.control_url,
                    headers={"Host": portal.name},
                    server_hostname=portal.name,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except aiohttp.ClientConnectorCertificateError as error:
            raise Refused("portal_certificate") from error
        except aiohttp.WSServerHandshakeError as error:
            wait = error.headers.get("Retry-After", "") if error.headers else ""
            wait_s = min(int(wait), MAX_RETRY_AFTER_S) if wait.isascii() and wait.isdecimal() else 0
            raise Unavailable("portal_busy", wait_s=wait_s) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable("portal_unreachable") from error
        async with upgraded:
            yield ControlSocket(upgraded)


async def dial_work(address: Address, token: bytes, timeout_s: float) -> socket.socket:
    """Dial a work connection and say its token; the caller closes the socket. Unavailable("portal_unreachable")."""
    loop = asyncio.get_running_loop()
    sock = _tcp_socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.sock_connect(sock, address)
            await loop.sock_sendall(sock, encode_work_preface(token))
    except (OSError, TimeoutError) as error:
        sock.close()
        raise Unavailable("portal_unreachable") from error
    except BaseException:
        sock.close()
        raise
    return sock


def let_patient_stall(sock: socket.socket, stall_timeout_s: float) -> None:
    """Set what a connection in use needs: to Linux a stalled reader looks dead (TCP_USER_TIMEOUT, tcp(7))."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_timeout_s * 1000))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _control_tcp_socket(resolved: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    return _tcp_socket(resolved[0])


def _tcp_socket(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
    return sock


async def _take_no_redirect(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A portal answers itself or not at all; aiohttp would follow it to any host."""
    response = await handler(request)
    if 300 <= response.status < 400:
        response.close()
        raise aiohttp.ClientError
    return response
