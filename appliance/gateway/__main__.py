"""`python -m appliance.gateway`: wires gateway together; no logic here."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from appliance.contracts.gateway import GATEWAY
from appliance.contracts.opening import ask_opening, until_not_open, until_open
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.vault import VAULT, Box, Describe
from appliance.core.confine import confine_passed_sockets
from appliance.core.service import fails_with, report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, WatchedPeer, ask_patiently, serve
from appliance.gateway.answers import make_answers
from appliance.gateway.connections import Connections
from appliance.gateway.page_certificate import PageCertificate
from appliance.gateway.page_files import read_page_files
from appliance.gateway.routes import Host, Routes
from appliance.gateway.settings import GatewaySettings
from appliance.gateway.spool import Spool

READING_THREADS = 4


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve the connections that tunnel passes."""
    settings = read_settings(GatewaySettings, "gateway")
    files = read_page_files()
    vault = WatchedPeer(Peer.of(VAULT, "vault"))
    if (await ask_opening(vault, patience_s=settings.peer_patience_s)).state == "locked":
        report_ready()  # systemd waits for nobody's PIN; without vault, gateway does not know which host it is
        await until_open(vault)
    box: Box = await ask_patiently(vault, Describe(), patience_s=settings.peer_patience_s)
    certificate = PageCertificate(
        box.page_host, Path(settings.state), Path(settings.certificate_request), Path(settings.certificate)
    )
    certificate.write_request()
    with ThreadPoolExecutor(READING_THREADS, "spool") as executor:
        routes = Routes(
            Host(box.page_host, box.page_port),
            files,
            Spool(Path(settings.spool), executor),
            vault,
            vault_timeout_s=settings.vault_timeout_s,
            stall_timeout_s=settings.stall_timeout_s,
        )
        connections = Connections(
            routes,
            certificate.context,
            max_connections=settings.max_connections,
            max_connections_per_address=settings.max_connections_per_address,
            idle_timeout_s=settings.idle_timeout_s,
            handshake_timeout_s=settings.handshake_timeout_s,
        )
        try:
            async with asyncio.TaskGroup() as group:
                answers = [(GATEWAY, make_answers(connections)), (PROCESS, PROCESS_ANSWERS)]
                group.create_task(serve(sockets["local"], answers))
                group.create_task(certificate.watch())
                group.create_task(fails_with(connections.bug))
                group.create_task(vault.watch(settings.peer_patience_s))
                group.create_task(keep_locked_with(vault, routes))
                gc.freeze()  # what is there now stays: a collection looks at patients' requests only
                report_ready()
        finally:
            await connections.close()


async def keep_locked_with(vault: WatchedPeer, routes: Routes) -> None:
    """Give no share while vault's keys are not open, and break off what is being given."""
    while True:
        await until_not_open(vault)
        routes.lock()
        await until_open(vault)
        routes.unlock()


if __name__ == "__main__":
    confine_passed_sockets().say()
    run(main, fast_loop=True)
