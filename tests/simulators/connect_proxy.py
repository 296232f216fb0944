"""An HTTP proxy as a practice's network may have one: CONNECT only, with Basic credentials, and it leads to one place."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.simulators.router import Router


class ConnectProxy(Router):
    """A router behind CONNECT (RFC 9110, 9.3.6): whatever name is asked for, the tunnel leads to port `target`."""

    def __init__(self, target: int, user: str, password: str) -> None:
        super().__init__(target)
        #: The request lines, in order.
        self.asked: list[str] = []
        #: What it says instead of an answer of its own.
        self.answer = b""
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._credentials = f"Proxy-Authorization: Basic {word}"

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            self.asked.append(head[0])
            if self.answer:
                writer.write(self.answer)
            elif self._credentials not in head:
                writer.write(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"
                )
            elif not head[0].startswith("CONNECT "):
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await super().attend(reader, writer)
        writer.close()


@asynccontextmanager
async def connect_proxy(
    target: int, user: str, password: str, *, host: str = "127.0.0.1"
) -> AsyncIterator[ConnectProxy]:
    """Run a proxy on a free port of `host`."""
    proxy = ConnectProxy(target, user, password)
    server = await asyncio.start_server(proxy.attend, host, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut("tls")
