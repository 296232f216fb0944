"""Our yamux against two others, in both roles: hashicorp/yamux, the original (Debian's
golang-github-hashicorp-yamux-dev), and libp2p's in JavaScript (npm, locked in yamux_npm)."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.formats.yamux import INITIAL_WINDOW_BYTES, Session
from tests.tunnel.yamux_connection import Connection, echo, exchange, listen_once, settle

SOURCE = Path(__file__).parent.parent / "simulators" / "yamux_go" / "main.go"
LIBRARY = Path("/usr/share/gocode/src/github.com/hashicorp/yamux")
NPM = Path(__file__).parent / "yamux_npm"
STREAMS = 20
GO_BYTES = 700_000  # more than two windows
NPM_BYTES = 600_000

with_go = pytest.mark.skipif(
    shutil.which("go") is None or not LIBRARY.exists(), reason="needs golang-go, golang-github-hashicorp-yamux-dev"
)
with_npm = pytest.mark.skipif(
    shutil.which("node") is None or not (NPM / "node_modules").exists(), reason="needs nodejs, npm ci in yamux_npm"
)


@pytest.fixture(scope="module")
def go_peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yamux")
    program = folder / "peer"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache")}
    subprocess.run(["go", "build", "-o", program, SOURCE], check=True, env=environment)
    return program


async def start_npm(address: str, role: str, *words: int) -> asyncio.subprocess.Process:
    port = address.rpartition(":")[2]
    return await asyncio.create_subprocess_exec(
        "node", NPM / "peer.mjs", role, port, *map(str, words), stdout=subprocess.PIPE
    )


@with_go
async def test_the_go_client_gets_every_byte_back_from_our_server(go_peer: Path) -> None:
    address, arrived, server = await listen_once()
    process = await asyncio.create_subprocess_exec(
        go_peer, "client", address, str(STREAMS), str(GO_BYTES), stdout=subprocess.PIPE
    )
    connection = Connection(Session("server"), *await arrived)
    await echo(connection)
    output, _ = await process.communicate()
    await connection.close()
    server.close()
    assert output.decode().split() == ["equal", str(STREAMS)]
    assert process.returncode == 0


@with_go
async def test_our_client_gets_every_byte_back_from_the_go_server(go_peer: Path) -> None:
    address, arrived, server = await listen_once()
    process = await asyncio.create_subprocess_exec(go_peer, "server", address)
    connection = Connection(Session("client", window_bytes=1024 * 1024), *await arrived)
    exchanged = await exchange(connection, STREAMS, GO_BYTES, ends_first=False)  # Go's Close() ends its reading too
    await connection.close()
    await process.wait()
    server.close()
    assert exchanged.pongs == [42]
    assert exchanged.received == exchanged.sent
    assert connection.session.stream_count == 0


@with_npm
async def test_the_npm_client_gets_every_byte_back_from_our_server() -> None:
    address, arrived, server = await listen_once()
    process = await start_npm(address, "client", STREAMS, NPM_BYTES)
    connection = Connection(Session("server"), *await arrived)
    seen = await asyncio.wait_for(echo(connection), 60)
    await connection.close()
    output, _ = await process.communicate()
    server.close()
    assert json.loads(output)["equal"] == STREAMS
    assert (seen.finished, seen.reset) == (STREAMS, 1)
    assert seen.most_waiting <= INITIAL_WINDOW_BYTES, "it keeps to our window"
    assert connection.session.stream_count == 0


@with_npm
async def test_our_client_gets_every_byte_back_from_the_npm_server_and_may_end_first() -> None:
    address, arrived, server = await listen_once()
    process = await start_npm(address, "server")
    connection = Connection(Session("client", window_bytes=1024 * 1024), *await arrived)
    exchanged = await asyncio.wait_for(exchange(connection, STREAMS, NPM_BYTES, ends_first=True), 60)
    dropped = connection.session.open_stream()
    connection.session.send(dropped, b"dropped")
    await connection.flush()
    connection.session.reset(dropped)
    await settle(connection)
    await connection.close()
    output, _ = await process.communicate()
    server.close()
    assert exchanged.pongs == [42]
    assert exchanged.received == exchanged.sent
    assert json.loads(output)["ended"] == STREAMS
    assert json.loads(output)["reset"] == 1
    assert connection.session.stream_count == 0
