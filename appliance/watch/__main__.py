"""`python -m appliance.watch`: wires watch together; no logic here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

from appliance.contracts.certificate import CERTIFICATE
from appliance.contracts.page_key import PAGE_KEY
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.watch import WATCH
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve
from appliance.watch.answers import WatchAnswers
from appliance.watch.rounds import Rounds
from appliance.watch.settings import WatchSettings
from appliance.watch.state import StateFile


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve local calls and watch."""
    settings = read_settings(WatchSettings, "watch")
    file = StateFile(Path(settings.state_folder) / "state.json")
    rounds = Rounds(settings, file, Peer.of(PAGE_KEY, "vault"), Peer.of(CERTIFICATE, "certificate"))
    answers = WatchAnswers(settings, file, rounds).table()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(sockets["local"], [(WATCH, answers), (PROCESS, PROCESS_ANSWERS)]))
        group.create_task(rounds.keep_watching())
        report_ready()


if __name__ == "__main__":
    run(main)
