"""A box's backup in this process, with simulated neighbours on real sockets and real restic."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from appliance.backup.answers import BackupAnswers
from appliance.backup.desk import Desk
from appliance.backup.folders import Folders
from appliance.backup.keeper import Keeper
from appliance.backup.settings import BackupSettings
from appliance.backup.state import StateFile
from appliance.backup.store import Stores
from appliance.contracts import backup as contract
from appliance.contracts.backup import BACKUP, BackupState, Outcome, Store
from appliance.contracts.snapshots import SNAPSHOTS
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer
from tests.backup.peers import STAFF, SimulatedRecords, SimulatedVault, answering

NIGHT_S = 2 * 3600
START = 1_750_000_000


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Box:
    """Everything of one box; `peer` is practice's door to its backup."""

    folder: Path
    vault: SimulatedVault
    records: SimulatedRecords
    desk: Desk
    keeper: Keeper
    peer: Peer
    clock: Clock

    @property
    def disks(self) -> Path:
        return self.folder / "disks"

    async def ask(self, verb, **parameters):
        return await self.peer.ask(verb(session=STAFF, **parameters))

    async def set_store(self, store: Store, *, old: bool = False):
        return await self.ask(contract.SetStore, store=store, old=old)

    async def back_up(self, *, after_s: int = 86400) -> Outcome:
        """Make a backup, a day later, and give how it ended."""
        self.clock.now += after_s
        await self.ask(contract.StartBackup)
        return await self.ended("last_backup")

    async def restore(self, generation: int) -> Outcome:
        await self.ask(contract.StartRestore, generation=generation)
        return await self.ended("last_restore")

    async def ended(self, which: str) -> Outcome:
        await self.keeper.wait()
        return getattr(await self.state(), which)

    async def state(self) -> BackupState:
        return await self.ask(contract.DescribeBackup)


def folder_store(name: str = "share") -> Store:
    return Store(kind="folder", place=name)


@contextlib.asynccontextmanager
async def box(folder: Path, *, disks: Path | None = None, keep: bool = False) -> AsyncIterator[Box]:
    """Run a box's backup on a folder; `keep` runs what begins work by itself."""
    folder.mkdir(exist_ok=True)
    state = folder / "backup"
    for path in (state, state / "work", state / "restored", folder / "disks"):
        path.mkdir(exist_ok=True)
    folders = Folders(state)
    folders.make()
    chosen = BackupSettings(
        state_folder=str(state),
        disks_folder=str(disks or folder / "disks"),
        look_every_s=3600,
        store_patience_s=60,  # a busy machine is no store that is away
    )
    records = SimulatedRecords(folder / "archive", folders.work / "snapshot", folders.restored)
    vault, clock = SimulatedVault(), Clock()
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        to_vault = await enter(answering(folder / "vault.sock", VAULT, vault.answers(), "backup"))
        to_records = await enter(answering(folder / "records.sock", SNAPSHOTS, records.answers(), "backup"))
        async with asyncio.TaskGroup() as group:
            desk = Desk(
                chosen,
                folders,
                Stores(folders, chosen),
                StateFile(folders.private / "state.json", NIGHT_S),
                vault=to_vault,
                records=to_records,
                clock=clock,
            )
            keeper = Keeper(desk, group)
            table = BackupAnswers(desk, keeper).table()
            async with answering(folder / "backup.sock", BACKUP, table, "practice") as peer:
                keeping = [group.create_task(keeper.keep())] if keep else []
                try:
                    yield Box(folder, vault, records, desk, keeper, peer, clock)
                finally:
                    for task in (*keeping, *([keeper._task] if keeper._task else [])):
                        task.cancel()
