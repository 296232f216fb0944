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
from appliance.enrol.routes import LIMITS, Routes

MAX_HANDSHAKES = 8


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve the technician until the box is provisioned; then this returns, and the process ends with 0."""
    await serve_technician(sockets, Peer.of(VAULT, "vault"))


async def serve_technician(sockets: Mapping[str, socket.socket], vault: Peer) -> None:
    """Serve on sockets["lan"] (and local calls on sockets["local"], if given) until enrolment is closed.

    An answer on its way is finished when this ends or is cancelled: the rest of the box starts, and stops this
    process, at the very moment the technician is told.
    """
    routes = Routes(vault)
    context = make_bench_context()
    context.say()
    runner = web.AppRunner(routes.application(), **LIMITS)
    await runner.setup()
    assert runner.server is not None  # noqa: S101 (setup() made it)
    try:
        async with asyncio.TaskGroup() as group:
            serving = [
                group.create_task(
                    accept_connections(sockets["lan"], runner.server, lambda: context, max_connections=MAX_HANDSHAKES)
                )
            ]
            if "local" in sockets:
                serving.append(group.create_task(serve(sockets["local"], [(PROCESS, PROCESS_ANSWERS)])))
            report_ready()
            await routes.ended
            for task in serving:
                task.cancel()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    confine_passed_sockets().say()
    run(main)
