"""`python -m appliance.enrol`: wires enrol together; no logic here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from aiohttp import web

from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.vault import VAULT
from appliance.core.accept import accept_connections
from appliance.core.confine import confine_passed_sockets
from appliance.core.service import report_ready, run
from appliance.core.varlink import Peer, serve
from appliance.enrol.bench_certificate import make_bench_context
from appliance.enrol.routes import Routes

MAX_HANDSHAKES = 8
CLOSE_TIMEOUT_S = 5.0


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve the technician until the box is provisioned."""
    routes = Routes(Peer.of(VAULT, "vault"))
    context = make_bench_context()
    runner = web.AppRunner(routes.application(), access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 (setup() made it)
    try:
        async with asyncio.TaskGroup() as group:
            serving = [
                group.create_task(
                    accept_connections(sockets["lan"], runner.server, lambda: context, max_connections=MAX_HANDSHAKES)
                ),
                group.create_task(serve(sockets["local"], [(PROCESS, PROCESS_ANSWERS)])),
            ]
            report_ready()
            await routes.finished.wait()
            for task in serving:
                task.cancel()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    confine_passed_sockets().say()
    run(main)
