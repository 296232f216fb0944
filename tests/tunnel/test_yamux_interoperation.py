"""Our yamux against hashicorp/yamux, the original, in both roles (Debian's golang-github-hashicorp-yamux-dev)."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from appliance.formats.yamux import DataReceived, Event, PongReceived, Session, StreamFinished, StreamOpened

SOURCE = Path(__file__).parent.parent / "simulators" / "yamux_go" / "main.go"
LIBRARY = Path("/usr/share/gocode/src/github.com/hashicorp/yamux")
STREAMS = 20
STREAM_BYTES = 700_000  # more than two windows

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not LIBRARY.exists(), reason="needs golang-go, golang-github-hashicorp-yamux-dev"
)


@pytest.fixture(scope="module")
def go_peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yamux")
    program = folder / "peer"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", program, SOURCE], check=True, env=environment)
    return program


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


async def listen_once() -> tuple[
    str, asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]], asyncio.Server
]:
    arrived: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()
    server = await asyncio.start_server(lambda reader, writer: arrived.set_result((reader, writer)), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}", arrived, server


async def test_the_go_client_gets_every_byte_back_from_our_server(go_peer: Path) -> None:
    address, arrived, server = await listen_once()
    process = await asyncio.create_subprocess_exec(
        go_peer, "client", address, str(STREAMS), str(STREAM_BYTES), stdout=subprocess.PIPE
    )
    connection = Connection(Session("server"), *await arrived)
    session = connection.session
    waiting: defaultdict[int, bytearray] = defaultdict(bytearray)
    while (events := await connection.receive()) is not None:
        for event in events:
            match event:
                case DataReceived(stream, data):
                    waiting[stream] += data
                case StreamFinished(stream):
                    waiting.pop(stream, None)
                    session.finish(stream)
        for stream, held in waiting.items():
            count = min(len(held), session.room(stream))
            if count:
                session.send(stream, bytes(held[:count]))
                del held[:count]
                session.consumed(stream, count)
        await connection.flush()
    output, _ = await process.communicate()
    await connection.close()
    server.close()
    assert output.decode().split() == ["equal", str(STREAMS)]
    assert process.returncode == 0


async def test_our_client_gets_every_byte_back_from_the_go_server(go_peer: Path) -> None:
    address, arrived, server = await listen_once()
    process = await asyncio.create_subprocess_exec(go_peer, "server", address)
    connection = Connection(Session("client"), *await arrived)
    session = connection.session
    source = random.Random(7)
    sent = {session.open_stream(): source.randbytes(STREAM_BYTES) for _ in range(STREAMS)}
    left = {stream: memoryview(data) for stream, data in sent.items()}
    received: defaultdict[int, bytearray] = defaultdict(bytearray)
    session.ping(42)
    ponged = False
    finished: set[int] = set()
    while len(finished) < STREAMS:
        for stream, rest in left.items():
            count = min(len(rest), session.room(stream))
            if count:
                session.send(stream, bytes(rest[:count]))
                left[stream] = rest[count:]
        await connection.flush()
        events = await connection.receive()
        assert events is not None, "the Go server hung up"
        for event in events:
            match event:
                case DataReceived(stream, data):
                    received[stream] += data
                    session.consumed(stream, len(data))
                    if len(received[stream]) == STREAM_BYTES:
                        session.finish(stream)
                case StreamFinished(stream):
                    finished.add(stream)
                case PongReceived(value):
                    ponged = value == 42
                case StreamOpened():
                    pytest.fail("the echo server opens no streams")
    await connection.close()
    await process.wait()
    server.close()
    assert ponged
    assert {stream: bytes(data) for stream, data in received.items()} == sent
    assert session.stream_count == 0
