"""The records process: asks vault for the database's key, opens and sweeps its state, answers on its local socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping

from appliance.contracts.audit import AUDIT
from appliance.contracts.preview import PREVIEW
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.records import RECORDS
from appliance.contracts.vault import VAULT
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve
from appliance.records.answers import RecordsAnswers
from appliance.records.archive import open_archive
from appliance.records.preview_work import PreviewWork
from appliance.records.settings import RecordsSettings
from appliance.records.turning import turn_for_ever


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Run until cancelled."""
    settings = read_settings(RecordsSettings, "records")
    vault, audit = Peer.of(VAULT, "vault"), Peer.of(AUDIT, "audit")
    async with open_archive(settings, vault, audit, time.time) as archive, asyncio.TaskGroup() as group:
        answers = RecordsAnswers(archive)
        group.create_task(archive.sweep_spool_for_ever())
        group.create_task(archive.watch_peers_for_ever())
        group.create_task(archive.keep_clock_for_ever())
        group.create_task(turn_for_ever(archive))
        group.create_task(PreviewWork(archive, Peer.of(PREVIEW, "preview")).do_for_ever())
        report_ready()
        await serve(sockets["local"], [(RECORDS, answers.table()), (PROCESS, PROCESS_ANSWERS)])


if __name__ == "__main__":
    run(main)
