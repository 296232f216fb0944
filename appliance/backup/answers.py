"""Answers local calls: each carries the session of a member of staff, which vault is asked about first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from appliance.backup.cycle import forgets_itself
from appliance.backup.desk import Desk
from appliance.backup.keeper import Keeper
from appliance.backup.overwriting import is_overwritable
from appliance.backup.retention import KEEP_DAYS, is_ahead
from appliance.backup.store import KeptStore, check_store
from appliance.contracts import snapshots
from appliance.contracts.backup import (
    AbandonRestore,
    BackupState,
    DescribeBackup,
    ForgetStore,
    ReadGenerations,
    SetStore,
    StartBackup,
    StartRestore,
    StoreState,
)
from appliance.contracts.vault import CheckSession, ReadRepositoryPassword
from appliance.core.errors import NotFound, Refused
from appliance.core.varlink import Answers, Caller, Done


class BackupAnswers:
    """Answers about backups and restores."""

    def __init__(self, desk: Desk, keeper: Keeper) -> None:
        self._desk = desk
        self._keeper = keeper

    def table(self) -> Answers:
        """Give the table of de.praxissafe.Backup."""
        return {
            DescribeBackup: self.answer_describe_backup,
            SetStore: self.answer_set_store,
            ForgetStore: self.answer_forget_store,
            StartBackup: self.answer_start_backup,
            ReadGenerations: self.answer_read_generations,
            StartRestore: self.answer_start_restore,
            AbandonRestore: self.answer_abandon_restore,
        }

    async def answer_describe_backup(self, call: DescribeBackup, _: Caller) -> BackupState:
        """Say how it stands."""
        await self._check(call.session, touch=False)
        return await self._state()

    async def answer_set_store(self, call: SetStore, _: Caller) -> StoreState:
        """Try a store; keep it if it opens."""
        await self._check(call.session)
        check_store(call.store)
        await self._keeper.end_backup()
        desk, patience_s = self._desk, self._desk.settings.store_patience_s
        kept = KeptStore(store=call.store, set_at=desk.now(), password_before=desk.stores.password_before(call.store))
        async with desk.repository_free:
            if call.old:
                repository, kept.password_before = await desk.open_with_sheets(kept, patience_s=patience_s)
            else:
                repository = await desk.open_with_kit(kept, patience_s=patience_s, make=True)
            now = datetime.fromtimestamp(desk.now(), UTC)
            kept.overwritable = await asyncio.to_thread(is_overwritable, call.store, now)
            await self._keeper.end_backup()  # one that became due meanwhile waits for this lock
            desk.stores.keep(kept)
            desk.state.change(erased=None, failures=0)
            await desk.read_generations(repository, patience_s=patience_s)
        shown = desk.stores.shown()
        assert shown is not None  # noqa: S101 (kept above)
        return shown

    async def answer_forget_store(self, call: ForgetStore, _: Caller) -> Done:
        """Make no more copies."""
        await self._check(call.session)
        await self._keeper.end_backup()
        self._desk.stores.forget()  # before anything is waited for: no backup begins without a store
        self._desk.state.change(generations=[], erased=None, failures=0)
        return Done()

    async def answer_start_backup(self, call: StartBackup, _: Caller) -> Done:
        """Begin a backup."""
        await self._check(call.session)
        self._desk.stores.required()
        await self._desk.vault.ask(ReadRepositoryPassword())  # no_kit
        self._keeper.start_backup()
        return Done()

    async def answer_read_generations(self, call: ReadGenerations, _: Caller) -> BackupState:
        """Ask the store which generations there are."""
        await self._check(call.session)
        self._keeper.check_idle()
        desk, patience_s = self._desk, self._desk.settings.store_patience_s
        kept = desk.stores.required()
        async with desk.repository_free:
            if kept.password_before:
                repository = desk.repository(kept, kept.password_before)
            else:
                repository = await desk.open_with_kit(kept, patience_s=patience_s)
            await desk.read_generations(repository, patience_s=patience_s)
        return await self._state()

    async def answer_start_restore(self, call: StartRestore, _: Caller) -> Done:
        """Begin a restore, or go on with it."""
        await self._check(call.session)
        self._keeper.check_idle()
        self._desk.stores.required()
        await self._desk.vault.ask(ReadRepositoryPassword(old=True))  # no_restore
        if call.generation not in [known.generation for known in self._desk.state.now.generations]:
            raise NotFound("generation")
        self._keeper.start_restore(call.generation)
        return Done()

    async def answer_abandon_restore(self, call: AbandonRestore, _: Caller) -> Done:
        """Give a restore up."""
        await self._check(call.session)
        self._keeper.check_idle()
        async with self._keeper.occupied("restore", "finish"):
            await self._desk.records.ask(snapshots.AbandonRestore())
            self._desk.folders.empty_restored()
            self._desk.state.change(restoring=0, rows_taken=False, finishing=False)
        return Done()

    async def _check(self, token: str, *, touch: bool = True) -> None:
        session = await self._desk.vault.ask(CheckSession(session=token, touch=touch))
        if session.kind != "staff":
            raise Refused("session_kind")

    async def _state(self) -> BackupState:
        desk, state = self._desk, self._desk.state.now
        kept = desk.stores.kept
        is_lapsing = (kept is None or forgets_itself(kept)) and not any(
            is_ahead(one.generation, desk.now()) for one in state.generations
        )
        return BackupState(
            store=desk.stores.shown(),
            running=desk.running,
            last_backup=state.last_backup,
            last_good_at=state.last_good_at,
            last_restore=state.last_restore,
            next_at=await self._keeper.next_at(),
            generations=state.generations,
            keep_days=KEEP_DAYS if is_lapsing else 0,
            login_key=desk.stores.login_key,
        )
