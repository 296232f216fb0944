"""What all work of backup stands on: peers, folders, store, state, and what is under way; opens the repository.

One work at a time: `running` is what the page shows, `repository_free` keeps the short work of the erased list and of
a new store apart from it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from appliance.backup.folders import Folders
from appliance.backup.repository import Listed, Repository
from appliance.backup.restic import Restic
from appliance.backup.settings import BackupSettings
from appliance.backup.state import StateFile
from appliance.backup.store import KeptStore, Stores
from appliance.contracts.backup import Generation, Running, StepName
from appliance.contracts.snapshots import ErasedList, WriteErasedList
from appliance.contracts.vault import ReadRepositoryPassword
from appliance.core.errors import NotFound, Refused
from appliance.core.files import write_whole
from appliance.core.varlink import Peer

#: records lays out, compares or copies many files for one call.
RECORDS_TIMEOUT_S = 12 * 3600.0


class Desk:
    """Everything that work needs."""

    def __init__(
        self,
        settings: BackupSettings,
        folders: Folders,
        stores: Stores,
        state: StateFile,
        *,
        vault: Peer,
        records: Peer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.folders = folders
        self.stores = stores
        self.state = state
        self.vault = vault
        self.records = records
        self.running: Running | None = None
        self.repository_free = asyncio.Lock()
        self._clock = clock

    def now(self) -> int:
        """Give the time, unix seconds."""
        return int(self._clock())

    def step(self, step: StepName, *, total_files: int = 0) -> None:
        """Begin a step of the running work."""
        if self.running is not None:
            self.running.step = step
            self.running.done_bytes = self.running.total_bytes = self.running.done_files = 0
            self.running.total_files = total_files

    def progress(self, done_bytes: int, total_bytes: int, done_files: int, total_files: int) -> None:
        """Say how far the step is."""
        if self.running is not None:
            self.running.done_bytes, self.running.total_bytes = done_bytes, total_bytes
            self.running.done_files, self.running.total_files = done_files, total_files

    def repository(self, kept: KeptStore, password: str) -> Repository:
        """Give the repository of a store, not opened yet."""
        access = self.stores.access(kept.store)
        cache, temporary = self.folders.cache, self.folders.temporary
        silent_s = self.settings.store_silent_s
        restic = Restic(self.settings.restic, access, password, cache=cache, temporary=temporary, silent_s=silent_s)
        return Repository(restic, self.folders.work, self.folders.restored)

    async def open_with_kit(
        self, kept: KeptStore, *, patience_s: float | None = None, make: bool = False
    ) -> Repository:
        """Open the repository with the kit's password; one of an earlier kit lets the new one in.

        With `make`, one is made if there is none. Refused("no_kit"), Refused("repository_password").
        """
        passwords = await self.vault.ask(ReadRepositoryPassword())
        repository = self.repository(kept, passwords.password)
        if await self._opens(repository, patience_s, make=make):
            return repository
        for earlier in (*passwords.earlier, kept.password_before):
            if earlier and await self._opens(self.repository(kept, earlier), patience_s):
                await self._add_password(self.repository(kept, earlier), passwords.password, patience_s)
                return repository
        raise Refused("repository_password")

    async def open_with_sheets(self, kept: KeptStore, *, patience_s: float | None = None) -> tuple[Repository, str]:
        """Open it with the password of the sheets that vault holds; give that too. Refused("no_restore")."""
        password = (await self.vault.ask(ReadRepositoryPassword(old=True))).password
        repository = self.repository(kept, password)
        await repository.open(patience_s)
        return repository, password

    async def save_erased(self, repository: Repository) -> ErasedList:
        """Save the list of what was erased, if the store has another one."""
        written = await self.records.ask(WriteErasedList(), timeout_s=RECORDS_TIMEOUT_S)
        if written != self.state.now.erased:
            number = 1 + max(self.state.now.last_list, (await repository.list()).last_list)
            self.state.change(last_list=number)
            await repository.save_erased(number)
            self.state.change(erased=written)
        return written

    async def read_generations(self, repository: Repository, *, patience_s: float | None = None) -> list[Generation]:
        """Ask the store which generations there are, and remember that."""
        return self.note_generations(await repository.list(patience_s))

    def note_generations(self, listed: Listed) -> list[Generation]:
        """Remember what lies in the store."""
        tested = {known.generation: known.tested_at for known in self.state.now.generations}
        generations = [kept.shown(tested.get(kept.generation, 0)) for kept in listed.generations]
        self.state.change(generations=generations)
        return generations

    @asynccontextmanager
    async def work(self, work: Running) -> AsyncIterator[None]:
        """Do this work, which was said to be running by `Desk.running`; waits for shorter work to end."""
        try:
            async with self.repository_free:
                yield
        finally:
            if self.running is work:
                self.running = None

    async def _opens(self, repository: Repository, patience_s: float | None, *, make: bool = False) -> bool:
        try:
            await repository.open(patience_s)
        except Refused as error:
            if error.code != "repository_password":
                raise
            return False
        except NotFound:
            if not make:
                raise
            await repository.make(patience_s)
        return True

    async def _add_password(self, repository: Repository, password: str, patience_s: float | None) -> None:
        file = self.folders.private / "new_password"
        write_whole(file, password.encode(), mode=0o600)
        try:
            await repository.add_password(file, patience_s)
        finally:
            file.unlink(missing_ok=True)
