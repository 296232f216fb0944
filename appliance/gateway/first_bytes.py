"""What stands in front of a patient's TLS: the relay's PROXY header, then the ClientHello.

Rules: the header is taken off to the byte; the ClientHello is looked at and left in the kernel (MSG_PEEK), where TLS
finds it whole. Nothing is decided by the address but how many connections it may hold; it is not written anywhere.

A TCP socket could wait for more bytes by SO_RCVLOWAT, but poll(2) on AF_UNIX does not heed it (net/unix/af_unix.c,
unix_poll), so one that waits for the second byte would spin. epoll(7)'s edge trigger wakes once for bytes that came.
"""

from __future__ import annotations

import asyncio
import ipaddress
import select
import socket
from collections.abc import Callable
from typing import TypeVar

from appliance.core.errors import Unavailable
from appliance.formats.client_hello import MAX_CLIENT_HELLO_BYTES, read_client_hello
from appliance.formats.proxy_header import Address, decode_proxy_header

IPV6_HOLDER_BITS = 64
ENDED = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

Result = TypeVar("Result")
#: Who holds a connection: an IPv4 address, the network of an IPv6 address, or None where the header says LOCAL.
Holder = ipaddress.IPv4Address | ipaddress.IPv6Network | None


async def take_holder(sock: socket.socket) -> Holder:
    """Take the PROXY header off `sock` and say who holds the connection.

    Raises Invalid("proxy_header") or Unavailable("peer_left"); the caller sets the deadline.
    """
    header = await _look(sock, decode_proxy_header)
    left = header.length
    while left:  # these bytes are there: one call takes them, unless it is interrupted
        left -= len(sock.recv(left))
    return holder_of(header.source[0]) if header.source else None


async def look_for_protocols(sock: socket.socket) -> tuple[bytes, ...]:
    """Say which protocols the ClientHello offers (ALPN); it stays in the socket. Raises as `take_holder`."""
    return (await _look(sock, read_client_hello)).protocols


def holder_of(address: Address) -> Holder:
    """Say who holds an address: for IPv6 whoever has the /64, the least that a network gives to one (RFC 6177)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return ipaddress.IPv6Network((int(address) >> IPV6_HOLDER_BITS << IPV6_HOLDER_BITS, IPV6_HOLDER_BITS))


async def _look(sock: socket.socket, decide: Callable[[bytes], Result | None]) -> Result:
    """Show `decide` the first bytes each time more have come, until it gives a result or raises."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    ended = False

    def wake() -> None:
        nonlocal ended
        for _, events in edge.poll(0):
            ended = ended or bool(events & ENDED)
            came.set()

    with select.epoll() as edge:
        edge.register(sock, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
        loop.add_reader(edge, wake)
        try:
            while True:
                await came.wait()
                came.clear()
                was_ended = ended  # what came before the end is there now
                result = decide(_peek(sock))
                if result is not None:
                    return result
                if was_ended:
                    raise Unavailable("peer_left")
        finally:
            loop.remove_reader(edge)


def _peek(sock: socket.socket) -> bytes:
    try:
        return sock.recv(MAX_CLIENT_HELLO_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise Unavailable("peer_left") from error
