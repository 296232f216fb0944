"""TCP sockets as this process wants them, and the dial of a work connection: raw, or wrapped in TLS to the portal.

Work connections go to the very address that the control connection reached.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Literal

from appliance.core.errors import Unavailable
from appliance.formats.proxy_header import encode_proxy_header
from appliance.formats.tunnel_control import encode_work_preface
from appliance.tunnel.problems import certificate_problem

KEEPALIVE_IDLE_S = 20
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
#: In a connection of one patient's own nobody else loses a turn: each time room is made, gateway is woken, and with
#: 128 kB that cost it a tenth of its CPU. Bounded all the same, for a patient who has stalled.
UNSENT_BYTES = 512 * 1024
#: Where patients share one connection, little may wait unsent in it: what waits there has lost its turns.
UNSENT_SHARED_BYTES = 16 * 1024
READ_BYTES = 64 * 1024

Address = tuple[str, int]
SocketMaker = Callable[[int], socket.socket]
Wrapped = tuple[asyncio.StreamReader, asyncio.StreamWriter]
#: What came of a probe; silent: nothing came in time, be it swallowed on the way or that the portal is busy.
Probed = Literal["works", "blocked", "silent"]


def socket_maker(dead_after_s: float, *, unsent_bytes: int | None = None) -> SocketMaker:
    """Give a function that makes a TCP socket of an address family."""

    def make(family: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(dead_after_s * 1000))
        if unsent_bytes is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)
        return sock

    return make


def let_patient_stall(sock: socket.socket, stall_timeout_s: float) -> None:
    """Set what a connection in use needs: to Linux a stalled reader looks dead (TCP_USER_TIMEOUT, tcp(7))."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_timeout_s * 1000))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class WorkDialler:
    """Dials work connections to one portal's address: name and authority are the control connection's."""

    def __init__(self, address: Address, name: str, context: ssl.SSLContext, make_socket: SocketMaker) -> None:
        self._address = address
        self._name = name
        self._context = context
        self._make_socket = make_socket

    async def raw(self, token: bytes, timeout_s: float, *, probe: bool = False) -> socket.socket:
        """Dial and say the token; the caller closes the socket. Unavailable("portal_unreachable")."""
        sock = await self._connected(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_sendall(sock, encode_work_preface(token, probe=probe))
        except (OSError, TimeoutError) as error:
            sock.close()
            raise Unavailable("portal_unreachable") from error
        except BaseException:
            sock.close()
            raise
        return sock

    async def wrapped(self, token: bytes, timeout_s: float, *, probe: bool = False) -> Wrapped:
        """Dial, check the certificate, say the token inside; the caller closes the writer.

        Raises Unavailable("portal_unreachable"), Refused with a certificate's code.
        """
        sock = await self._connected(timeout_s)
        try:
            reader, writer = await asyncio.open_connection(
                sock=sock,
                ssl=self._context,
                server_hostname=self._name,
                ssl_handshake_timeout=timeout_s,
                ssl_shutdown_timeout=1.0,
                limit=READ_BYTES,
            )
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise certificate_problem(error) from error
        except (OSError, TimeoutError) as error:
            sock.close()
            raise Unavailable("portal_unreachable") from error
        except BaseException:
            sock.close()
            raise
        writer.transport.set_write_buffer_limits(high=READ_BYTES)
        writer.write(encode_work_preface(token, probe=probe))
        return reader, writer

    async def probe_raw(self, token: bytes, timeout_s: float) -> Probed:
        """Say whether a raw connection gets through to the portal: it says its one word, and nothing else."""
        loop = asyncio.get_running_loop()
        expected, heard = encode_proxy_header(None), b""
        try:
            async with asyncio.timeout(timeout_s):
                sock = await self.raw(token, timeout_s, probe=True)
                try:
                    while len(heard) < len(expected) and (more := await loop.sock_recv(sock, READ_BYTES)):
                        heard += more
                finally:
                    sock.close()
        except TimeoutError:
            return "silent"
        except (OSError, Unavailable):
            return "blocked"
        return "works" if heard == expected else "blocked"

    async def probe_wrapped(self, token: bytes, timeout_s: float) -> Probed:
        """Say the same of a wrapped one; Refused with a certificate's code."""
        expected = encode_proxy_header(None)
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self.wrapped(token, timeout_s, probe=True)
                try:
                    return "works" if await reader.readexactly(len(expected)) == expected else "blocked"
                finally:
                    writer.close()
        except TimeoutError:
            return "silent"
        except (OSError, asyncio.IncompleteReadError, Unavailable):
            return "blocked"

    async def _connected(self, timeout_s: float) -> socket.socket:
        sock = self._make_socket(socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(sock, self._address)
        except (OSError, TimeoutError) as error:
            sock.close()
            raise Unavailable("portal_unreachable") from error
        except BaseException:
            sock.close()
            raise
        return sock
