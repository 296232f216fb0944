"""A practice's router, through which a box reaches its portal: it can cut connections, and let only some kinds out.

A connection is "work" when it says in the clear that it is one (PXW1, PXP1), else "tls": nothing more can be told from outside. Each
is carried byte by byte as it is; a cut is a reset at both ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

READ_BYTES = 64 * 1024
FIRST_BYTES = 4
WORK = (b"PXW1", b"PXP1")


@dataclass(eq=False)
class Way:
    """One connection through the router."""

    kind: str
    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    carried: int = 0

    def cut(self) -> None:
        """Reset both ends."""
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Router:
    """`lets(kind)` says whether a new connection may pass, or gives the port it is led to instead.

    While it is `frozen` nothing more passes on any connection, and nobody is told. `came`: the kind of each.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.ways: set[Way] = set()
        self.lets: Callable[[str], bool | int] = lambda _: True
        self.frozen = False
        self.came: list[str] = []
        self.refused = 0

    def of_kind(self, kind: str) -> list[Way]:
        """Give the open connections of a kind."""
        return [way for way in self.ways if way.kind == kind]

    def cut(self, kind: str, count: int = 1 << 20, chance: random.Random | None = None) -> int:
        """Cut up to `count` connections of a kind, by chance; give how many."""
        ways = self.of_kind(kind)
        if chance is not None:
            ways = chance.sample(ways, min(count, len(ways)))
        for way in ways[:count]:
            way.cut()
        return len(ways[:count])

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, asyncio.IncompleteReadError, RuntimeError
        ):  # RuntimeError: uvloop's, when it is closed
            first = await reader.readexactly(FIRST_BYTES)
            kind = "work" if first in WORK else "tls"
            self.came.append(kind)
            verdict = self.lets(kind)
            if not verdict:
                self.refused += 1
                writer.transport.abort()
                return
            there = await asyncio.open_connection("127.0.0.1", self.target if verdict is True else verdict)
            way = Way(kind, (writer, there[1]))
            self.ways.add(way)
            try:
                there[1].write(first)
                await asyncio.gather(self._copy(reader, there[1], way), self._copy(there[0], writer, way))
            finally:
                self.ways.discard(way)
                there[1].close()
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        while data := await reader.read(READ_BYTES):
            while self.frozen:
                await asyncio.sleep(0.01)
            way.carried += len(data)
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def router(target: int, *, host: str = "127.0.0.1") -> AsyncIterator[Router]:
    """Run one on a free port of `host` that leads to port `target` of 127.0.0.1."""
    made = Router(target)
    server = await asyncio.start_server(made.attend, host, 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for way in list(made.ways):
            way.cut()
