"""Our end of a yamux connection, for holding it against other implementations."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from dataclasses import dataclass, field

from appliance.formats.yamux import DataReceived, Event, PongReceived, Session, StreamFinished, StreamReset


class Connection:
    """A session on a TCP connection: everything it wants to say is written at once."""

    def __init__(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.session = session
        self._reader = reader
        self._writer = writer

    async def receive(self) -> list[Event] | None:
        """Give what the next bytes mean, None at the end."""
        data = await self._reader.read(65536)
        return self.session.receive(data) if data else None

    async def flush(self) -> None:
        while data := self.session.bytes_to_send():
            self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def listen_once() -> tuple[
    str, asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]], asyncio.Server
]:
    arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
    server = await asyncio.start_server(lambda reader, writer: arrived.set_result((reader, writer)), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}", arrived, server


@dataclass
class Echoed:
    """What the echo saw."""

    finished: int = 0
    reset: int = 0
    most_waiting: int = 0


async def echo(connection: Connection) -> Echoed:
    """Send every stream's bytes back, and its end behind them, until the peer hangs up."""
    session, seen = connection.session, Echoed()
    waiting: defaultdict[int, bytearray] = defaultdict(bytearray)
    ending: set[int] = set()
    while (events := await connection.receive()) is not None:
        for event in events:
            match event:
                case DataReceived(stream, data):
                    waiting[stream] += data
                case StreamFinished(stream):
                    ending.add(stream)
                    waiting[stream] += b""
                case StreamReset(stream):
                    waiting.pop(stream, None)
                    seen.reset += 1
        seen.most_waiting = max(seen.most_waiting, *map(len, waiting.values()), 0)
        for stream, held in list(waiting.items()):
            count = min(len(held), session.room(stream))
            if count:
                session.send(stream, bytes(held[:count]))
                del held[:count]
                session.consumed(stream, count)
            if stream in ending and not held:
                del waiting[stream]
                session.finish(stream)
                seen.finished += 1
        await connection.flush()
    return seen


@dataclass
class Exchanged:
    """What came back."""

    sent: dict[int, bytes]
    received: dict[int, bytes]
    pongs: list[int] = field(default_factory=list)


async def exchange(connection: Connection, streams: int, length: int, *, ends_first: bool) -> Exchanged:
    """Open streams, send, read as much back; `ends_first`: end writing before the answer is read, else after it."""
    session = connection.session
    source = random.Random(7)
    sent = {session.open_stream(): source.randbytes(length) for _ in range(streams)}
    left = {stream: memoryview(data) for stream, data in sent.items()}
    received: defaultdict[int, bytearray] = defaultdict(bytearray)
    pongs: list[int] = []
    session.ping(42)
    finished: set[int] = set()
    while len(finished) < streams or not pongs:
        for stream, rest in left.items():
            count = min(len(rest), session.room(stream))
            if count:
                session.send(stream, bytes(rest[:count]))
                left[stream] = rest[count:]
                if ends_first and count == len(rest):
                    session.finish(stream)
        await connection.flush()
        events = await connection.receive()
        assert events is not None, "the peer hung up"
        for event in events:
            match event:
                case DataReceived(stream, data):
                    received[stream] += data
                    session.consumed(stream, len(data))
                    if len(received[stream]) == length and not ends_first:
                        session.finish(stream)
                case StreamFinished(stream):
                    finished.add(stream)
                case StreamReset(stream):
                    raise AssertionError(f"the peer reset stream {stream}")
                case PongReceived(value):
                    pongs.append(value)
    await connection.flush()
    return Exchanged(sent, {stream: bytes(data) for stream, data in received.items()}, pongs)


async def settle(connection: Connection) -> None:
    """Ask for life and wait for the answer: the peer has read everything before it."""
    connection.session.ping(43)
    await connection.flush()
    events: list[Event] | None = []
    while events is not None and PongReceived(43) not in events:
        events = await connection.receive()
    assert events is not None, "the peer hung up"
