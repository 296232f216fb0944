"""The process is killed (SIGKILL) in the middle, with everything it started, as systemd does; a new one goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.contracts import backup as contract
from appliance.contracts.backup import BACKUP, BackupState, Outcome
from appliance.contracts.snapshots import SNAPSHOTS
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer
from tests.backup.bench import folder_store
from tests.backup.peers import STAFF, SimulatedRecords, SimulatedVault, answering

ROOT = Path(__file__).parents[2]


class Killable:
    """A box whose neighbours live here and whose backup is a process that can be killed and started anew."""

    def __init__(self, folder: Path, disks: Path) -> None:
        self.folder, self.disks = folder, disks
        self.vault = SimulatedVault()
        self.records = SimulatedRecords(
            folder / "archive", folder / "backup/work/snapshot", folder / "backup/restored"
        )
        self.peer = Peer.of(BACKUP, "backup", folder)
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.backup.one_process", str(self.folder), str(self.disks),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._child.stdout is not None
        assert await self._child.stdout.readline() == b"ready\n"

    async def kill(self) -> None:
        assert self._child is not None
        children = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children").read_text().split()
        for pid in map(int, [str(self._child.pid), *children]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await self._child.wait()

    async def ask(self, verb, **parameters):
        return await self.peer.ask(verb(session=STAFF, **parameters))

    async def state(self) -> BackupState:
        return await self.ask(contract.DescribeBackup)

    async def ended(self, which: str) -> Outcome:
        while (state := await self.state()).running is not None:
            await asyncio.sleep(0.05)
        return getattr(state, which)


@contextlib.asynccontextmanager
async def killable(folder: Path, disks: Path) -> AsyncIterator[Killable]:
    for path in (folder / "backup/work", folder / "backup/restored", disks / "share"):
        path.mkdir(parents=True, exist_ok=True)
    box = Killable(folder, disks)
    async with (
        answering(folder / "vault.sock", VAULT, box.vault.answers(), "backup"),
        answering(folder / "records.sock", SNAPSHOTS, box.records.answers(), "backup"),
    ):
        await box.start()
        try:
            yield box
        finally:
            await box.kill()


async def reached(box: Killable, verb: str) -> None:
    async with asyncio.timeout(60):
        await box.records.reached.setdefault(verb, asyncio.Event()).wait()


@pytest.mark.parametrize("verb", ["MakeSnapshot", "CheckCopy"])
async def test_a_backup_that_was_killed_is_made_anew_and_leaves_no_snapshot(tmp_path: Path, verb: str) -> None:
    async with killable(tmp_path / "box", tmp_path / "disks") as box:
        box.records.fill(30)
        await box.ask(contract.SetStore, store=folder_store())
        box.records.waits_at[verb] = asyncio.Event()
        await box.ask(contract.StartBackup)
        await reached(box, verb)
        await box.kill()
        box.records.waits_at.pop(verb).set()
        box.records.reached.clear()
        await box.start()
        await reached(box, "DropSnapshot")
        assert (await box.state()).last_good_at == 0
        await box.ask(contract.StartBackup)
        assert (await box.ended("last_backup")).code == ""
        assert not box.records.current.exists()


async def test_a_backup_killed_while_restic_writes_is_made_anew(tmp_path: Path) -> None:
    async with killable(tmp_path / "box", tmp_path / "disks") as box:
        for number in range(40):
            box.records.put(f"{number:02x}/" + "f" * 32, os.urandom(1_000_000))
        await box.ask(contract.SetStore, store=folder_store())
        await box.ask(contract.StartBackup)
        locks = tmp_path / "disks/share/praxissafe/locks"
        while (
            (running := (await box.state()).running) is None or running.step != "upload" or not any(locks.iterdir())
        ):
            await asyncio.sleep(0.02)
        await box.kill()
        assert any(locks.iterdir())  # restic had no time to take it away
        await box.start()
        await box.ask(contract.StartBackup)
        assert (await box.ended("last_backup")).code == ""


@pytest.mark.parametrize("verb", ["OpenCopy", "AdoptFiles", "FinishRestore"])
async def test_a_restore_that_was_killed_goes_on_by_itself(tmp_path: Path, verb: str) -> None:
    disks = tmp_path / "disks"
    async with killable(tmp_path / "old", disks) as old:
        old.records.fill(60)
        await old.ask(contract.SetStore, store=folder_store())
        await old.ask(contract.StartBackup)
        assert (await old.ended("last_backup")).code == ""
    async with killable(tmp_path / "new", disks) as new:
        new.vault.password, new.vault.sheets = None, "password-of-the-kit"
        await new.ask(contract.SetStore, store=folder_store(), old=True)
        new.records.waits_at[verb] = asyncio.Event()
        await new.ask(contract.StartRestore, generation=(await new.state()).generations[0].generation)
        await reached(new, verb)
        await new.kill()
        new.records.waits_at.pop(verb).set()
        new.records.reached.clear()
        await new.start()
        await reached(new, "FinishRestore")
        assert (await new.ended("last_restore")).code == ""
        assert new.records.rows == old.records.rows
