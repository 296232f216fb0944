"""A recording relay: stands between two sides of a TCP connection and keeps every byte that passes, as a portal may.

Binds and dials loopback only; ends with its block.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Recorder:
    """What has passed, both directions together, and where to connect."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen = bytearray()


@asynccontextmanager
async def recording(target_port: int) -> AsyncIterator[Recorder]:
    """Relay 127.0.0.1:<port> to 127.0.0.1:<target_port> and record."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                recorder.seen += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

    server = await asyncio.start_server(attend, "127.0.0.1", 0)
    recorder = Recorder(server.sockets[0].getsockname()[1])
    async with server:
        yield recorder
