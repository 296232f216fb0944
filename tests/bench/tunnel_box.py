"""`python -m tests.bench.tunnel_box SETTINGS.json`: one side of the comparison, the application behind it.

    direct   the application on a listening socket, TLS in this process: no tunnel at all
    tunnel   tunnel's own keepers against a real portal, with a stub vault that signs by a software key; the passed
             descriptors are served as gateway serves them, by TLS on that very socket
    snitun   snitun's client in its in-process mode, which takes aiohttp's protocol and the TLS context itself

All in one process, so that one clock counts a side's whole cost. Says JSON lines on standard output: {"port"} once it
listens, {"state", "mode", "spares", "at"} whenever tunnel's state changes. Serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from appliance.contracts.gateway import GATEWAY, TakeConnection
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.proxy_header import FIXED_BYTES, MAX_HEADER_BYTES, SIGNATURE, decode_proxy_header
from appliance.tunnel.keepers import Keepers
from appliance.tunnel.route import Route
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import Status
from tests.bench.tunnel_application import make_runner, page_context
from tests.bench.tunnel_saying import say, until_input_ends
from tests.bench.tunnel_vault import StubVault, answering

LOOK_S = 0.02


class Descriptors:
    """Serves passed descriptors: the PROXY header off, then TLS and the application on that very socket."""

    def __init__(self, runner: web.AppRunner, folder: Path) -> None:
        self._runner = runner
        self._context = page_context(folder)
        self._tasks: set[asyncio.Task[None]] = set()

    def answers(self) -> Answers:
        return {TakeConnection: self.answer_take_connection}

    async def answer_take_connection(self, _: TakeConnection, __: Caller, descriptor: int) -> Done:
        task = asyncio.ensure_future(self._serve(socket.socket(fileno=descriptor)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Done()

    async def _serve(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        try:
            await take_proxy_header(sock)
            await asyncio.get_running_loop().connect_accepted_socket(self._runner.server, sock, ssl=self._context)
        except OSError:  # the patient left, or speaks no TLS
            sock.close()


async def take_proxy_header(sock: socket.socket) -> None:
    """Take the PROXY header off, if one stands there; nothing of the patient's own bytes."""
    loop = asyncio.get_running_loop()
    while True:
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock, lambda ready=ready: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(sock)
        first = sock.recv(MAX_HEADER_BYTES, socket.MSG_PEEK)
        if not first or not SIGNATURE.startswith(first[:FIXED_BYTES][: len(SIGNATURE)]):
            return
        header = decode_proxy_header(first)
        if header is not None:
            sock.recv(header.length)
            return
        await asyncio.sleep(0.001)


async def run_direct(settings: dict[str, Any], folder: Path) -> None:
    runner = await make_runner(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(runner.server, settings["address"], 0, ssl=page_context(folder), backlog=1024)
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


async def run_tunnel(settings: dict[str, Any], folder: Path) -> None:
    vault = StubVault.of(settings)
    descriptors = Descriptors(await make_runner(folder), folder)
    status = Status(0)
    chosen = TunnelSettings(state=str(folder), **settings["tunnel"])
    route = Route(folder, time.time, chosen.retry_better_s)
    async with (
        answering(folder / "vault.sock", VAULT, vault.answers()) as vault_peer,
        answering(folder / "gateway.sock", GATEWAY, descriptors.answers()) as gateway_peer,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(Keepers(vault_peer, gateway_peer, chosen, route, status).run())
        group.create_task(say_states(status))


async def say_states(status: Status) -> None:
    """Say the state each time that it is another one; `at` is CLOCK_MONOTONIC."""
    said: tuple[str, str | None, int] | None = None
    while True:
        now = (status.state, status.mode, status.spares)
        if now != said:
            said = now
            say(state=status.state, mode=status.mode, spares=status.spares, at=asyncio.get_running_loop().time())
        await asyncio.sleep(LOOK_S)


async def run_snitun(settings: dict[str, Any], folder: Path) -> None:
    from snitun.utils.aiohttp_client import SniTunClientAioHttp

    from tests.bench.tunnel_snitun import mend_writelines

    mend_writelines()
    runner = await make_runner(folder)
    host, port = settings["portal_address"].split(":")
    client = SniTunClientAioHttp(runner, page_context(folder), host, int(port))
    await client.start()
    await client.connect(
        settings["token"].encode(),
        bytes.fromhex(settings["aes_key"]),
        bytes.fromhex(settings["aes_iv"]),
        protocol_version=settings["protocol_version"],
    )
    say(state="connected", spares=0, at=asyncio.get_running_loop().time())
    await client.wait()
    say(state="lost", spares=0, at=asyncio.get_running_loop().time())


def main(path: Path) -> None:
    settings = json.loads(path.read_text())
    logging.disable(logging.CRITICAL)  # aiohttp tells of every patient that leaves in the middle
    run = {"direct": run_direct, "tunnel": run_tunnel, "snitun": run_snitun}[settings["side"]]
    factory = None
    if (
        settings["side"] != "snitun"
    ):  # uvloop, as gateway and tunnel run; snitun's in-process TLS needs asyncio's own loop
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(until_input_ends(run(settings, path.parent)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
