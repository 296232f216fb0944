"""Begins work: at night, after a failure, when asked; and ends it when the box is locked.

Nothing begins while vault's keys are not open. A foreseen failure is an outcome that people read, with a code; any
other is a bug and ends the process. A restore that was interrupted by an end of the process goes on by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

from appliance.backup.cycle import back_up
from appliance.backup.desk import RECORDS_TIMEOUT_S, Desk
from appliance.backup.nights import next_backup
from appliance.backup.restoring import restore
from appliance.contracts.backup import Outcome, Running, StepName
from appliance.contracts.opening import until_not_open, until_open
from appliance.contracts.snapshots import DropSnapshot, ErasedList, WriteErasedList
from appliance.contracts.vault import ReadRepositoryPassword
from appliance.core import metrics
from appliance.core.errors import PraxisError, Refused
from appliance.core.journal import say

outcomes = metrics.Counter(
    "backup_work_total",
    "Backups and restores by how they ended.",
    ["backup_good", "backup_failed", "restore_good", "restore_failed"],
)


class Keeper:
    """Begins work and sees it through; `group` runs it."""

    def __init__(self, desk: Desk, group: asyncio.TaskGroup) -> None:
        self._desk = desk
        self._group = group
        self._task: asyncio.Task[None] | None = None
        self._erased_looked_at = 0

    # --- asked for -----------------------------------------------------------------------------------------------

    def start_backup(self) -> None:
        """Begin a backup; Refused("busy"), Refused("no_store")."""
        self.check_idle()
        self._desk.stores.required()
        self._start("backup", self._back_up)

    def start_restore(self, generation: int) -> None:
        """Begin or go on with a restore; Refused("busy"), Refused("no_store")."""
        self.check_idle()
        self._desk.stores.required()
        state = self._desk.state
        is_same = state.now.restoring == generation
        state.change(
            restoring=generation,
            restore_began_at=state.now.restore_began_at if is_same else self._desk.now(),
            finishing=is_same and state.now.finishing,
            last_restore=None,
        )
        self._start("restore", self._restore)

    def check_idle(self) -> None:
        """Raise Refused("busy") while a backup or a restore runs."""
        if self._desk.running is not None:
            raise Refused("busy")

    async def end_backup(self) -> None:
        """End a backup under way, as a lock of the box does; it begins anew when due. Refused("busy"): a restore.

        A store that accepts and then is silent must not keep people from choosing another one.
        """
        running = self._desk.running
        if running is not None and running.work == "backup":
            await self._end_work()
        self.check_idle()

    async def _end_work(self) -> None:
        if self._task is not None and not self._task.done():
            running = self._desk.running
            self._task.cancel()
            await asyncio.wait({self._task})
            if self._desk.running is running:  # it was ended before it began
                self._desk.running = None

    @asynccontextmanager
    async def occupied(self, work: Literal["backup", "restore"], step: StepName) -> AsyncIterator[None]:
        """Let nothing begin meanwhile."""
        async with self._desk.work(self._run(work, step)):
            yield

    async def wait(self) -> None:
        """Wait until the work under way has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def _run(self, work: Literal["backup", "restore"], step: StepName) -> Running:
        running = Running(
            work=work,
            step=step,
            done_bytes=0,
            total_bytes=0,
            done_files=0,
            total_files=0,
            began_at=self._desk.now(),
        )
        self._desk.running = running
        return running

    def _start(self, work: Literal["backup", "restore"], doing: Callable[[], Awaitable[None]]) -> None:
        running = self._run(work, "snapshot" if work == "backup" else "fetch")

        async def do() -> None:
            with contextlib.suppress(asyncio.CancelledError):  # locked: noted where it was cancelled
                async with self._desk.work(running):
                    await doing()

        self._task = self._group.create_task(do())

    # --- by itself -----------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Run until cancelled."""
        while True:
            await until_open(self._desk.vault)
            await self._take_up()
            looking = asyncio.ensure_future(self._look_on())
            try:
                await self._until_closed(looking)
            finally:
                looking.cancel()
                await asyncio.wait({looking})
            await self._end_work()

    async def _take_up(self) -> None:
        """Tidy after an end of the process or a lock; go on with a restore that this interrupted."""
        desk, state = self._desk, self._desk.state.now
        with contextlib.suppress(PraxisError):
            await desk.records.ask(DropSnapshot(), timeout_s=RECORDS_TIMEOUT_S)
            if not state.finishing:
                desk.folders.empty_restored()
        if state.restoring and state.last_restore is None and desk.running is None and desk.stores.kept:
            self.start_restore(state.restoring)

    async def _until_closed(self, looking: asyncio.Future[None]) -> None:
        closing: asyncio.Future[Any] = asyncio.ensure_future(until_not_open(self._desk.vault))
        try:
            await asyncio.wait([closing, looking], return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()
        finally:
            closing.cancel()

    async def _look_on(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._desk.settings.look_every_s)

    async def look(self) -> None:
        """See whether a backup is due, or the list of what was erased is to be looked at."""
        desk = self._desk
        if desk.running is not None or desk.stores.kept is None or desk.state.now.restoring:
            return
        next_at = await self.next_at()
        if next_at and next_at <= desk.now():
            self.start_backup()
        elif next_at and not 0 <= desk.now() - self._erased_looked_at < desk.settings.erased_every_s:
            self._erased_looked_at = desk.now()
            with contextlib.suppress(PraxisError):
                await self._save_erased(desk.state.now.erased)

    async def next_at(self) -> int:
        """Say when the next backup begins by itself; 0 without a store or a kit."""
        kept, state = self._desk.stores.kept, self._desk.state.now
        if kept is None or state.restoring:
            return 0
        try:
            await self._desk.vault.ask(ReadRepositoryPassword())
        except PraxisError:
            return 0
        return next_backup(
            good_at=state.last_good_at,
            set_at=kept.set_at,
            night_s=state.night_s,
            failed_at=state.last_backup.at if state.last_backup else 0,
            failures=state.failures,
            now=self._desk.now(),
        )

    async def _save_erased(self, known: ErasedList | None) -> None:
        """Save the list again if it is another one than the store has."""
        kept = self._desk.stores.required()
        if kept.password_before and not _is_good(self._desk.state.now.last_restore):
            return  # the old box's store, before the restore: its lists are wanted yet
        if await self._desk.records.ask(WriteErasedList()) != known and not self._desk.repository_free.locked():
            async with self._desk.repository_free:
                patience_s = self._desk.settings.store_patience_s
                await self._desk.save_erased(await self._desk.open_with_kit(kept, patience_s=patience_s))

    # --- the work ------------------------------------------------------------------------------------------------

    async def _back_up(self) -> None:
        began_at = self._desk.now()
        outcome = await self._outcome(back_up(self._desk))
        state, good = self._desk.state, not outcome.code
        state.change(
            last_backup=outcome,
            last_good_at=began_at if good else state.now.last_good_at,
            failures=0 if good else state.now.failures + 1,
        )
        outcomes.add("backup_good" if good else "backup_failed")

    async def _restore(self) -> None:
        outcome = await self._outcome(restore(self._desk, self._desk.state.now.restoring))
        state, good = self._desk.state, not outcome.code
        state.change(
            last_restore=outcome,
            # What records never began is over; what it began goes on when it is asked for again.
            restoring=0 if good or not state.now.rows_taken else state.now.restoring,
            rows_taken=state.now.rows_taken and not good,
            finishing=False,
            erased=None if good else state.now.erased,
        )
        with contextlib.suppress(PraxisError):
            self._desk.folders.empty_restored()
        outcomes.add("restore_good" if good else "restore_failed")

    async def _outcome(self, work: Awaitable[Outcome]) -> Outcome:
        try:
            return await work
        except PraxisError as error:
            say("work_failed", priority="warning", family=error.family.lower(), code=error.code)
            return Outcome(at=self._desk.now(), code=error.code)


def _is_good(outcome: Outcome | None) -> bool:
    return outcome is not None and not outcome.code
