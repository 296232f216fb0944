"""The baseline: the box's own web server with nothing of the box behind it, in one process.

The same accepting, the same HTTP limits, the same event loop and the same kind of TLS certificate as practice; a body,
by PUT or as the file of a form, goes into a file in pieces of the same size and is synced (fsync(2)) before the answer.
Nothing is sealed, hashed, checked, logged or listed.

`python -m tests.bench.plain_server FOLDER` says one JSON line, {"port", "ca"}, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import socket
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from appliance.core.accept import accept_connections
from appliance.practice.connections import Connections
from appliance.practice.lan_certificate import keep_certificate
from appliance.practice.uploads import PIECE_BYTES

HOST = "plain-server.localhost"


class PlainServer:
    """Writes what comes into `folder`, one file for all."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "body"

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes([web.put("/body", self.put), web.post("/form", self.post)])
        return application

    async def put(self, request: web.Request) -> web.Response:
        with self._synced() as descriptor:
            while piece := await request.content.read(PIECE_BYTES):
                write_all(descriptor, piece)
        return web.Response(status=201, body=b"{}")

    async def post(self, request: web.Request) -> web.Response:
        with self._synced() as descriptor:
            async for part in await request.multipart():
                if part.filename is None:
                    await part.text()
                    continue
                while piece := await part.read_chunk(PIECE_BYTES):
                    write_all(descriptor, piece)
        return web.Response(status=201, body=b"{}")

    @contextlib.contextmanager
    def _synced(self):
        """A new file, synced at the end of the block; the last one goes, as it would in a spool."""
        self._file.unlink(missing_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


async def main(folder: Path) -> None:
    certificate = keep_certificate(folder, HOST, datetime.datetime.now(datetime.UTC))
    context = certificate.context()
    connections = Connections(PlainServer(folder).application(), max_connections=8, idle_timeout_s=600)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with connections, asyncio.TaskGroup() as group:
            accepting = group.create_task(
                accept_connections(listener, connections.make_protocol, lambda: context, max_connections=8)
            )
            print(json.dumps({"port": listener.getsockname()[1], "ca": str(certificate.authority)}), flush=True)
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
            await ended.wait()
            accepting.cancel()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1])))
