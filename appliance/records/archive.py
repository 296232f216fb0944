"""What all answers work on: the database, the sealed files, the spool, the peers, and the clock.

Rules: an entry is in the audit log before its change takes effect, so a crash between the two leaves an entry too
many and never one too few; whatever ends a share or erases is done under one lock with whatever makes a share, so
that no share can name a document that is being erased.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from appliance.contracts.audit import Action, Append, ReadEntries
from appliance.contracts.snapshots import FOLDERS
from appliance.contracts.vault import Box, Describe, NameErasureGenerations, NameLiveShares, OpenDatabase, Session
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.journal import say
from appliance.core.metrics import Counter, gauge
from appliance.core.varlink import Peer
from appliance.formats.envelope import NONCE_PREFIX_BYTES, SALT_BYTES, DocumentSealer
from appliance.records import documents, erasure, previews, restoring, retention, search, shares
from appliance.records.activity import Activity
from appliance.records.database import Database, Rows
from appliance.records.sealed_files import SealedFiles
from appliance.records.sessions import Sessions
from appliance.records.settings import RecordsSettings
from appliance.records.snapshot_folder import SnapshotFolder
from appliance.records.spool import Spool
from appliance.records.threads import on_thread

FILE_THREADS = 2
SWEEP_PERIOD_S = 60.0
ENTRIES_AT_ONCE = 32
INDEXED_AT_ONCE = 500

_swept = Counter("swept_total", "What a sweep removed.", ["incoming", "sealed_without_row", "spool"])
_missing = gauge("documents_missing", "Rows whose sealed file is not there or has another size: tampering or loss.")


class PeerGone(Exception):
    """A peer's socket was replaced behind our back; ends the process, which is started with the new one."""


@dataclass(frozen=True)
class Archive:
    """Everything of one box; made by `open_archive`, which also closes it."""

    box: Box
    database: Database
    files: SealedFiles
    spool: Spool
    snapshot: SnapshotFolder
    restored: Path
    vault: Peer
    audit: Peer
    sessions: Sessions
    clock: Callable[[], float]
    file_threads: Executor
    share_changes: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Held while a snapshot is laid out, and while something is erased; taken before `share_changes`.
    erasing_or_laying_out: asyncio.Lock = field(default_factory=asyncio.Lock)
    previews_wanted: asyncio.Event = field(default_factory=asyncio.Event)
    intakes: Activity = field(default_factory=Activity)
    erasures: Activity = field(default_factory=Activity)
    erasure_waits: asyncio.Event = field(default_factory=asyncio.Event)
    #: Not set while a restore stands (restoring.py).
    not_restoring: asyncio.Event = field(default_factory=asyncio.Event)
    #: Held while the erasure key turns.
    turning: asyncio.Lock = field(default_factory=asyncio.Lock)
    entries: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(ENTRIES_AT_ONCE))

    @property
    def now(self) -> int:
        """The time in seconds, UTC."""
        return int(self.clock())

    @property
    def box_bytes(self) -> bytes:
        """The box's identifier as associated data has it."""
        return bytes.fromhex(self.box.box)

    def new_sealer(self, identifier: str, key: bytes, name: str, media_type: str) -> DocumentSealer:
        """Give the sealer of a new file of this box; the key is for this file only."""
        return DocumentSealer(
            key,
            self.box_bytes,
            bytes.fromhex(identifier),
            name,
            media_type,
            os.urandom(SALT_BYTES),
            os.urandom(NONCE_PREFIX_BYTES),
        )

    async def log(
        self,
        session: Session,
        action: Action,
        *,
        patient: str | None = None,
        document: str | None = None,
    ) -> None:
        """Append an entry; it is synced when this returns. Unavailable("audit_away")."""
        await self.append(action, actor=session.principal, patient=patient, document=document)

    async def append(self, action: Action, **who_and_what: str | None) -> None:
        """Append an entry, as `log` does, of nobody if no `actor` is named."""
        entry = Append(action=action, **who_and_what)
        async with self.entries:
            try:
                await self.audit.ask(entry)
            except PraxisError as error:
                raise Unavailable("audit_away") from error

    @asynccontextmanager
    async def erasing(self) -> AsyncIterator[None]:
        """Erase in this block, while no share changes and no snapshot is made; the erasure key turns in a while."""
        try:
            with self.erasures.going_on():
                async with self.erasing_or_laying_out, self.share_changes:
                    yield
        finally:
            self.erasure_waits.set()

    async def withdraw(self, ended: list[str]) -> None:
        """Take ended shares out of the spool and mark their rows. Under `share_changes`."""
        locators = await self.database.run(lambda rows: shares.locators(rows, ended))
        if locators:
            await on_thread(self.file_threads, self.spool.withdraw, locators)
            await self.database.run(lambda rows: shares.end(rows, ended))

    async def sweep_spool(self) -> None:
        """Take out of the spool whatever is no live share by the rows, the clock, and vault if it answers."""
        async with self.share_changes:
            named = await self._live_shares()
            live = await self.database.run(lambda rows: shares.live(rows, self.now, named))
            for _ in range(await on_thread(self.file_threads, self.spool.sweep, live)):
                _swept.add("spool")

    async def _live_shares(self) -> set[str] | None:
        try:
            return set((await self.vault.ask(NameLiveShares())).shares)
        except Unavailable:
            return None

    async def sweep_spool_for_ever(self) -> None:
        """Sweep the spool once a period until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            await self.sweep_spool()

    async def watch_peers_for_ever(self) -> None:
        """End with PeerGone when a peer cannot be reached in two periods: its socket here is a dead one's."""
        away = 0
        while True:
            await asyncio.sleep(SWEEP_PERIOD_S)
            try:
                await self.vault.ask(Describe())
                await self.audit.ask(ReadEntries(count=1))
                away = 0
            except Unavailable as error:
                away += error.code == "peer_away"
            if away >= 2:
                raise PeerGone

    async def keep_clock_for_ever(self) -> None:
        """Let the clock of retention periods rise once an hour that the box runs, until cancelled.

        On a full disk it stands still.
        """
        while True:
            await asyncio.sleep(retention.CLOCK_PERIOD_S)
            with suppress(Unavailable):
                await self.database.run(lambda rows: retention.keep_clock(rows, self.now))

    async def index_documents(self) -> None:
        """Make documents of before there was an index findable, a few at a time."""
        while await self.database.run(lambda rows: search.index_missing(rows, INDEXED_AT_ONCE)):
            pass

    async def sweep_files(self) -> int:
        """Remove what was never acknowledged, count what is lost. At start only: an intake has no row yet.

        Also at the end of a restore; while one stands, what still comes is not lost.
        """
        for _ in range(await on_thread(self.file_threads, self.files.empty_incoming)):
            _swept.add("incoming")
        missing = 0
        for folder in FOLDERS:
            known = await self.database.run(partial(files_in, folder=folder))
            orphans, lost = await on_thread(self.file_threads, self.files.sweep, folder, known)
            missing += lost
            for _ in range(orphans):
                _swept.add("sealed_without_row")
        if self.not_restoring.is_set():
            self.tell_missing(missing)
        return missing

    def tell_missing(self, count: int) -> None:
        """Raise the alarm if files are lost."""
        _missing.set(count)
        if count:
            say("document_files_missing", priority="alert", count=count)


def files_in(rows: Rows, folder: str) -> dict[str, int]:
    """Give file -> sealed length of documents and previews in one folder of the store."""
    return documents.files_in(rows, folder) | previews.files_in(rows, folder)


@asynccontextmanager
async def open_archive(
    settings: RecordsSettings, vault: Peer, audit: Peer, clock: Callable[[], float]
) -> AsyncIterator[Archive]:
    """Open everything, sweep, and close at the end of the block.

    Raises what vault answers, Tampered("database"), Tampered("database_rolled_back"), Invalid("database_version"),
    Invalid("spool_group").
    """
    state = Path(settings.state_folder)
    box = await vault.ask(Describe())
    opened = await vault.ask(OpenDatabase())
    generations = await vault.ask(NameErasureGenerations())
    database = await Database.open(state / "records.db", opened.key)
    try:
        await database.run(lambda rows: erasure.adopt(rows, generations.oldest, generations.newest))
        with ThreadPoolExecutor(FILE_THREADS, thread_name_prefix="files") as file_threads:
            spool = Spool(state, settings.spool_group)
            archive = Archive(
                box=box,
                database=database,
                files=SealedFiles(state, settings.reserve_bytes),
                spool=spool,
                snapshot=SnapshotFolder(state, spool.group),
                restored=Path(settings.restored_folder),
                vault=vault,
                audit=audit,
                sessions=Sessions(vault, clock),
                clock=clock,
                file_threads=file_threads,
            )
            if not await database.run(retention.clock):
                await database.run(lambda rows: retention.keep_clock(rows, archive.now))
            if await database.run(restoring.standing) is None:
                archive.not_restoring.set()
            await on_thread(file_threads, archive.snapshot.sweep)
            await archive.sweep_files()
            await archive.index_documents()
            await archive.sweep_spool()
            yield archive
    finally:
        database.close()
