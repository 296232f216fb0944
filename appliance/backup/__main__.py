"""`python -m appliance.backup`: wires backup together; no logic here."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from appliance.backup.answers import BackupAnswers
from appliance.backup.desk import Desk
from appliance.backup.folders import Folders
from appliance.backup.keeper import Keeper
from appliance.backup.nights import FIRST_S, LAST_S
from appliance.backup.settings import BackupSettings
from appliance.backup.state import StateFile
from appliance.backup.store import Stores
from appliance.contracts.backup import BACKUP
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.snapshots import SNAPSHOTS
from appliance.contracts.vault import VAULT
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Serve local calls and keep copies."""
    settings = read_settings(BackupSettings, "backup")
    folders = Folders(Path(settings.state_folder))
    folders.make()
    state = StateFile(folders.private / "state.json", FIRST_S + secrets.randbelow(LAST_S - FIRST_S))
    desk = Desk(
        settings,
        folders,
        Stores(folders, settings),
        state,
        vault=Peer.of(VAULT, "vault"),
        records=Peer.of(SNAPSHOTS, "records"),
    )
    async with asyncio.TaskGroup() as group:
        keeper = Keeper(desk, group)
        answers = BackupAnswers(desk, keeper).table()
        group.create_task(serve(sockets["local"], [(BACKUP, answers), (PROCESS, PROCESS_ANSWERS)]))
        group.create_task(keeper.keep())
        report_ready()


if __name__ == "__main__":
    run(main)
