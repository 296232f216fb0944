"""backup as a process of its own, for tests that kill it: wired as `__main__` does it, on folders and sockets of a test.

`python -m tests.backup.one_process FOLDER DISKS`: neighbours answer on FOLDER/vault.sock and FOLDER/records.sock.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from appliance.backup.answers import BackupAnswers
from appliance.backup.desk import Desk
from appliance.backup.folders import Folders
from appliance.backup.keeper import Keeper
from appliance.backup.settings import BackupSettings
from appliance.backup.state import StateFile
from appliance.backup.store import Stores
from appliance.contracts.backup import BACKUP
from appliance.contracts.snapshots import SNAPSHOTS
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer, serve


async def main(folder: Path, disks: str) -> None:
    folders = Folders(folder / "backup")
    folders.make()
    settings = BackupSettings(state_folder=str(folders.state), disks_folder=disks)
    vault, records = Peer.of(VAULT, "vault", folder), Peer.of(SNAPSHOTS, "records", folder)
    state = StateFile(folders.private / "state.json", 7200)
    desk = Desk(settings, folders, Stores(folders, settings), state, vault=vault, records=records)
    path = folder / "backup.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with asyncio.TaskGroup() as group:
            keeper = Keeper(desk, group)
            table = BackupAnswers(desk, keeper).table()
            group.create_task(serve(listener, [(BACKUP, table)], {os.getuid(): "practice"}))
            group.create_task(keeper.keep())
            print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
