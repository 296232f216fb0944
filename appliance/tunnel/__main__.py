"""`python -m appliance.tunnel`: wires tunnel together; no logic here."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from appliance.contracts.gateway import GATEWAY
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.vault import VAULT
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve
from appliance.tunnel.answers import make_answers
from appliance.tunnel.keepers import Keepers
from appliance.tunnel.route import Route
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import Status


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve local calls and keep the box connected."""
    settings = read_settings(TunnelSettings, "tunnel")
    status = Status(int(time.time()))
    route = Route(Path(settings.state), time.time, settings.retry_better_s)
    keepers = Keepers(Peer.of(VAULT, "vault"), Peer.of(GATEWAY, "gateway"), settings, route, status)
    answers = make_answers(status, route, keepers)
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(sockets["local"], [(TUNNEL, answers), (PROCESS, PROCESS_ANSWERS)]))
        group.create_task(keepers.run())
        report_ready()


if __name__ == "__main__":
    run(main, fast_loop=True)
