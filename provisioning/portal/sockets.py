"""Options of the portal's TCP sockets, and looking at first bytes without taking them.

A connection that only waits (a spare, a control connection) is dead after 20 s of unanswered probes or bytes. One
that carries a patient's bytes gets `carrying`: for Linux a reader that has stalled counts as unanswered
(TCP_USER_TIMEOUT ends a zero window too, tcp(7) and measured), and a patient may pause.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

from appliance.core.errors import Invalid, Unavailable

DEAD_AFTER_MS = 20_000
KEEPALIVE_IDLE_S = 20
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNSENT_BYTES = 128 * 1024
#: On the portal's own TLS little waits in the kernel: what is there has its place in the row already, and a frame
#: behind it waits (a stream's, on a control connection).
OWN_UNSENT_BYTES = 32 * 1024
MAX_FIRST_BYTES = 16 * 1024

Result = TypeVar("Result")


def prepare(sock: socket.socket) -> None:
    """Set what every connection of the portal has."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)


def carrying(sock: socket.socket, stall_timeout_s: float) -> None:
    """Let a connection that now carries a patient's bytes stall for `stall_timeout_s`."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(stall_timeout_s * 1000))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def own(sock: socket.socket) -> None:
    """Let a connection to the portal's own name hold little unsent."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, OWN_UNSENT_BYTES)


def quiet(sock: socket.socket) -> bool:
    """Say whether a waiting connection is still open and has said nothing."""
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


async def look(sock: socket.socket, decide: Callable[[bytes], Result | None]) -> Result:
    """Show `decide` the first bytes, more of them each time it gives None, until it gives a result.

    The bytes stay in the kernel. SO_RCVLOWAT (socket(7)) keeps the waiting from spinning on bytes already seen.
    Raises Unavailable when the peer ends before that, Invalid beyond MAX_FIRST_BYTES; the caller sets the deadline.
    """
    seen = 0
    try:
        while True:
            await _readable(sock)
            try:
                first_bytes = sock.recv(MAX_FIRST_BYTES, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            except OSError as error:
                raise Unavailable("peer_left") from error
            if len(first_bytes) <= seen:
                raise Unavailable("peer_left")
            result = decide(first_bytes)
            if result is not None:
                return result
            seen = len(first_bytes)
            if seen >= MAX_FIRST_BYTES:
                raise Invalid("first_bytes")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
    finally:
        if seen:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock, wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock)
