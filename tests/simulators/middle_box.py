"""What stands between a practice and the internet, as far as a box notices: a firewall, and an HTTP proxy.

Both run in this process and pass connections on to one port of the loopback, whatever name was asked for.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

Verdict = Literal["pass", "reset"] | int
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]

TLS_HANDSHAKE = b"\x16"


def everything(_: bytes, __: int) -> Verdict:
    return "pass"


def only_tls(first: bytes, _: int) -> Verdict:
    return "pass" if first == TLS_HANDSHAKE else "reset"


def one_connection(_: bytes, open_now: int) -> Verdict:
    return "pass" if open_now == 1 else "reset"


class MiddleBox:
    """Judges each connection by its first byte and how many are open, itself included: pass, reset, or another port.

    `judge` may be changed while it runs; `frozen` passes nothing on from then on, and tells nobody.
    """

    def __init__(self, port: int, judge: Callable[[bytes, int], Verdict]) -> None:
        self.judge = judge
        self.frozen = False
        self.port = 0
        #: The first byte of every connection.
        self.first_bytes: list[bytes] = []
        self._to = port
        self._open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._attend((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, box: Pair) -> None:
        self._open += 1
        try:
            with contextlib.suppress(OSError):
                first = await box[0].read(1)
                self.first_bytes.append(first)
                verdict = self.judge(first, self._open)
                if first and verdict != "reset":
                    port = self._to if verdict == "pass" else verdict
                    portal = await asyncio.open_connection("127.0.0.1", port)
                    portal[1].write(first)
                    await self._pass(box, portal)
        finally:
            self._open -= 1
            box[1].transport.abort()

    async def _pass(self, box: Pair, portal: Pair) -> None:
        """Pass on until one side ends."""

        async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    while self.frozen:
                        await asyncio.sleep(0.01)
                    writer.write(data)
                    await writer.drain()

        ways = [asyncio.ensure_future(one_way(box[0], portal[1])), asyncio.ensure_future(one_way(portal[0], box[1]))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            portal[1].transport.abort()


@asynccontextmanager
async def middle_box(
    port: int, judge: Callable[[bytes, int], Verdict] = everything, *, host: str = "127.0.0.1"
) -> AsyncIterator[MiddleBox]:
    """Run a firewall before `port`."""
    box = MiddleBox(port, judge)
    server = await asyncio.start_server(box.attend, host, 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
        box.cut()


class ConnectProxy:
    """An HTTP proxy that takes CONNECT (RFC 9110, 9.3.6) to port `to`, with these Basic credentials."""

    def __init__(self, to: int, user: str, password: str) -> None:
        self.port = 0
        #: What was asked for, in order.
        self.asked: list[str] = []
        self.answer = b""
        self._to = to
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._credentials = f"Proxy-Authorization: Basic {word}"
        self._box = MiddleBox(to, everything)

    def cut(self) -> None:
        """End every connection."""
        self._box.cut()

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
                await self._box.attend(reader, writer)
                return
        writer.close()


@asynccontextmanager
async def connect_proxy(
    port: int, user: str, password: str, *, host: str = "127.0.0.1"
) -> AsyncIterator[ConnectProxy]:
    """Run a proxy whose every tunnel leads to `port`."""
    proxy = ConnectProxy(port, user, password)
    server = await asyncio.start_server(proxy.attend, host, 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
