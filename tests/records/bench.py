"""The records process on a bench: its real answers, database and folders over a real socket, with audit's real
answers beside it. The vault is given: the simulator's or the real one."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.audit.answers import AuditAnswers
from appliance.audit.log import AuditLog
from appliance.contracts.audit import AUDIT, ReadEntries
from appliance.contracts.records import RECORDS, AddDocument, CreatePatient, Person, ReadDocument
from appliance.contracts.snapshots import SNAPSHOTS
from appliance.core.varlink import Peer, serve
from appliance.records.answers import RecordsAnswers
from appliance.records.archive import Archive, open_archive
from appliance.records.settings import RecordsSettings

PDF = b"%PDF-1.7\n"
OWN_GROUP = grp.getgrgid(os.getgid()).gr_name


@contextlib.asynccontextmanager
async def served(path: Path, interface, table, process: str) -> AsyncIterator[Peer]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        task = asyncio.create_task(serve(listener, [(interface, table)], {os.getuid(): process}))
        try:
            yield Peer(interface, path)
            if task.done():
                task.result()  # a bug in an answer ends the process: it must not go unseen here
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task


@dataclass
class Clock:
    now: int = 1_700_000_000

    def __call__(self) -> int:
        return self.now


@dataclass
class Bench:
    """Records as its callers see it, and what lies on its disk."""

    peer: Peer
    state: Path
    archive: Archive
    audit: Peer
    clock: Clock
    session: str
    #: As backup asks, and the folder that it lays what it fetched into.
    snapshots: Peer
    restored: Path

    async def ask(self, verb, **fields):
        return await self.peer.ask(verb(session=fields.pop("session", self.session), **fields))

    async def add_patient(self, family="Muster", given="Erika", birth_date="1980-02-29", number=""):
        person = Person(family_name=family, given_name=given, birth_date=birth_date, number=number)
        return (await self.ask(CreatePatient, person=person, same_name=True)).patient

    async def add(self, content=PDF, *, piece_bytes=100_000, **fields):
        call = AddDocument(
            **{
                "session": self.session,
                "kind": "finding",
                "title": "Befund",
                "name": "befund.pdf",
                "media_type": "application/pdf",
            }
            | fields
        )
        async with self.peer.send(call) as upload:
            for start in range(0, len(content), piece_bytes):
                await upload.write(content[start : start + piece_bytes])
            return await upload.finish()

    async def read(self, document, first=0, session=None):
        call = ReadDocument(session=session or self.session, document=document, first=first)
        return b"".join([bytes(piece) async for piece in self.peer.receive(call)])

    async def entries(self, **fields):
        return (await self.audit.ask(ReadEntries(count=200, **fields))).entries

    async def actions(self):
        return [entry.action for entry in await self.entries()][::-1]

    @property
    def sealed_files(self) -> list[Path]:
        return [path for path in (self.state / "sealed").rglob("*") if path.is_file()]

    @property
    def incoming(self) -> list[Path]:
        return list((self.state / "incoming").iterdir())

    @property
    def spool_entries(self) -> list[Path]:
        return list((self.state / "spool").iterdir())


@contextlib.contextmanager
def audit_answers(folder: Path, clock: Clock) -> Iterator[AuditAnswers]:
    folder.mkdir(mode=0o700, exist_ok=True)
    log = AuditLog(folder)
    try:
        yield AuditAnswers(log, clock)
    finally:
        log.close()


@contextlib.asynccontextmanager
async def records_process(
    folder: Path,
    vault: Peer,
    session: str,
    *,
    clock: Clock | None = None,
    audit_process: str = "records",
    audit: AuditAnswers | None = None,
    **settings,
) -> AsyncIterator[Bench]:
    """Start records, and audit if none is given, with their state in `folder`; may be started again there."""
    clock, state = clock or Clock(), folder / "records"
    state.mkdir(mode=0o700, exist_ok=True)
    restored = folder / "restored"
    chosen = RecordsSettings(
        state_folder=str(state), spool_group=OWN_GROUP, restored_folder=str(restored), **settings
    )
    async with contextlib.AsyncExitStack() as stack:
        answers = audit or stack.enter_context(audit_answers(folder / "audit", clock))
        log = await stack.enter_async_context(served(folder / "audit.sock", AUDIT, answers.table(), audit_process))
        archive = await stack.enter_async_context(open_archive(chosen, vault, log, clock))
        answers_of = RecordsAnswers(archive)
        peer = await stack.enter_async_context(
            served(folder / "records.sock", RECORDS, answers_of.table(), "practice")
        )
        snapshots = await stack.enter_async_context(
            served(folder / "snapshots.sock", SNAPSHOTS, answers_of.snapshots_table(), "backup")
        )
        yield Bench(peer, state, archive, log, clock, session, snapshots, restored)
