"""`python -m appliance.practice`: wires practice together; no logic here."""

from __future__ import annotations

import asyncio
import datetime
import socket
import time
from collections.abc import Mapping

from appliance.contracts.opening import until_not_open
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.vault import Describe, DescribeOpening
from appliance.core.accept import accept_connections
from appliance.core.confine import confine_passed_sockets
from appliance.core.service import fails_with, report_ready, run
from appliance.core.settings import read_settings
from appliance.core.spare_memory import give_back_spare_memory
from appliance.core.varlink import ask_patiently, serve
from appliance.practice.alarm import keep_looking
from appliance.practice.connections import Connections, silence_libraries
from appliance.practice.desk import Desk
from appliance.practice.guard import Guard, Host
from appliance.practice.lan_certificate import keep_certificate
from appliance.practice.locked_page import show_locked_page
from appliance.practice.pages import Pages
from appliance.practice.peers import Peers
from appliance.practice.pending_kits import PendingKits
from appliance.practice.pending_links import PendingLinks
from appliance.practice.routes import make_application
from appliance.practice.settings import PracticeSettings
from appliance.practice.shut_page import show_shut_page

HANDSHAKES = 64
#: How long the answers at hand take to leave when the box is locked. The process ends then, with all that was read.
ANSWERS_LEAVE_S = 0.3


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve staff on the practice network."""
    silence_libraries()
    settings = read_settings(PracticeSettings, "practice")
    peers = Peers()
    opening = await ask_patiently(peers.vault, DescribeOpening(), patience_s=settings.peer_patience_s)
    if opening.state == "shut":
        report_ready()
        await show_shut_page(sockets["lan"], settings, peers.vault, opening.why)
        return  # systemd starts it again
    if opening.state == "locked":
        report_ready()
        await show_locked_page(sockets["lan"], settings, peers.vault, opening.why)
        return
    box = await ask_patiently(peers.vault, Describe(), patience_s=settings.peer_patience_s)
    certificate = keep_certificate(settings.state, box.lan_host, datetime.datetime.now(datetime.UTC))
    pages, links, kits = Pages(box), PendingLinks(), PendingKits()
    guard = Guard(Host(box), peers, pages, links, kits)
    desk = Desk(settings, certificate, peers, pages, links, kits, guard, time.time)
    context = certificate.context()
    connections = Connections(
        make_application(desk), max_connections=settings.max_connections, idle_timeout_s=settings.idle_timeout_s
    )
    async with connections, asyncio.TaskGroup() as group:
        accepting = group.create_task(
            accept_connections(sockets["lan"], connections.make_protocol, lambda: context, max_connections=HANDSHAKES)
        )
        work = [
            accepting,
            group.create_task(serve(sockets["local"], [(PROCESS, PROCESS_ANSWERS)])),
            group.create_task(fails_with(guard.bug)),
            group.create_task(peers.watch(settings.peer_patience_s)),
            group.create_task(give_back_spare_memory()),
            group.create_task(keep_looking(peers.watcher, pages)),
        ]
        report_ready()
        await until_not_open(peers.vault)
        guard.is_locked = True
        await asyncio.sleep(ANSWERS_LEAVE_S)
        for task in work:
            task.cancel()
        connections.abort()


if __name__ == "__main__":
    confine_passed_sockets().say()
    run(main, fast_loop=True)
