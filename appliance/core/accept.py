"""Serve people on a socket that systemd listens on, without ever calling listen(2) (seccomp denies it).

Each accepted connection is given to an asyncio protocol factory under TLS. The caller owns the listener.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from appliance.core.journal import say

TLS_HANDSHAKE_TIMEOUT_S = 15.0
ProtocolFactory = Callable[[], asyncio.BaseProtocol]


async def accept_connections(
    listener: socket.socket,
    factory: ProtocolFactory,
    context: Callable[[], ssl.SSLContext],
    *,
    max_connections: int,
) -> None:
    """Accept until cancelled; `context` is asked for each connection, so a renewed certificate takes effect.

    `max_connections` bounds handshakes in progress; the HTTP server bounds what comes after.
    """
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    places = asyncio.Semaphore(max_connections)

    async def hand_over(sock: socket.socket) -> None:
        try:
            await loop.connect_accepted_socket(
                factory, sock, ssl=context(), ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT_S
            )
        except (OSError, TimeoutError):  # ssl.SSLError is an OSError: a client that cannot speak TLS 1.3
            sock.close()

    async with asyncio.TaskGroup() as group:
        while True:
            await places.acquire()
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError:  # the client left before it was accepted, or no descriptors: accept(2)
                places.release()
                say("accept_failed", priority="warning")
                continue
            group.create_task(hand_over(sock)).add_done_callback(lambda _: places.release())
