"""The records process: asks vault for the database's key, opens and sweeps its state, answers on its local socket.

It works while vault's keys are open. When they are not any more it ends at once, and with it every transfer, the open
database, and every key in its memory; systemd starts it anew, and it waits.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping

from appliance.contracts.audit import AUDIT
from appliance.contracts.opening import ask_opening, until_not_open, until_open
from appliance.contracts.preview import PREVIEW
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.records import RECORDS
from appliance.contracts.snapshots import SNAPSHOTS
from appliance.contracts.vault import VAULT
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve
from appliance.records.answers import RecordsAnswers
from appliance.records.archive import open_archive
from appliance.records.preview_work import PreviewWork
from appliance.records.settings import RecordsSettings
from appliance.records.turning import turn_for_ever

VAULT_PATIENCE_S = 30.0


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Run until cancelled."""
    settings = read_settings(RecordsSettings, "records")
    vault, audit = Peer.of(VAULT, "vault"), Peer.of(AUDIT, "audit")
    if (await ask_opening(vault, patience_s=VAULT_PATIENCE_S)).state == "locked":
        report_ready()  # systemd waits for nobody's PIN
        await until_open(vault)
    async with open_archive(settings, vault, audit, time.time) as archive, asyncio.TaskGroup() as group:
        answers = RecordsAnswers(archive)
        served = [
            (RECORDS, answers.table()),
            (SNAPSHOTS, answers.snapshots_table()),
            (PROCESS, PROCESS_ANSWERS),
        ]
        work = [
            group.create_task(archive.sweep_spool_for_ever()),
            group.create_task(archive.watch_peers_for_ever()),
            group.create_task(archive.keep_clock_for_ever()),
            group.create_task(turn_for_ever(archive)),
            group.create_task(PreviewWork(archive, Peer.of(PREVIEW, "preview")).do_for_ever()),
            group.create_task(serve(sockets["local"], served)),
        ]
        report_ready()
        await until_not_open(vault)
        for task in work:
            task.cancel()


if __name__ == "__main__":
    run(main)
