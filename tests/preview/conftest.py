"""Records on its bench, with preview's own processes beside it as systemd would start them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest_asyncio

from appliance.contracts.records import ReadPreview
from appliance.core.errors import NotFound, Unavailable
from appliance.core.varlink import Peer
from appliance.records import previews
from appliance.records.preview_work import PreviewWork
from tests.preview.pictures import opened
from tests.records.bench import Bench, records_process
from tests.simulators.preview_process import PreviewProcesses, preview_processes
from tests.simulators.vault_peer import VaultPeer, vault_peer


@asynccontextmanager
async def working(bench: Bench, preview: Peer) -> AsyncIterator[None]:
    """Have records do its preview work meanwhile."""
    task = asyncio.create_task(PreviewWork(bench.archive, preview).do_for_ever())
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Practice:
    """Records with preview at work, and one patient."""

    bench: Bench
    processes: PreviewProcesses
    patient: str = ""
    added: list[str] = field(default_factory=list)

    async def add(self, content: bytes, media_type: str, name: str = "datei") -> str:
        added = await self.bench.add(content, patient=self.patient, media_type=media_type, name=name)
        return added.document

    async def settled(self) -> None:
        """Wait until nothing is pending; a bug in records ends the wait by the bench's own check."""
        async with asyncio.timeout(120):
            while await self.bench.archive.database.run(
                lambda rows: rows.one("SELECT 1 FROM pending_previews")
            ):  # looks again when others had their turn
                await asyncio.sleep(0.02)

    async def preview(self, document: str) -> bytes:
        call = ReadPreview(session=self.bench.session, document=document)
        return b"".join([bytes(piece) async for piece in self.bench.peer.receive(call)])

    async def picture(self, document: str):
        await self.settled()
        return opened(await self.preview(document))

    async def says(self, document: str) -> str:
        try:
            await self.preview(document)
        except (NotFound, Unavailable) as error:
            return error.code
        return "there"

    async def sealed_preview(self, document: str) -> previews.SealedPreview | None:
        return await self.bench.archive.database.run(lambda rows: previews.find(rows, document))


@pytest_asyncio.fixture
async def vault(tmp_path: Path) -> AsyncIterator[VaultPeer]:
    async with vault_peer(tmp_path) as vault:
        yield vault


@pytest_asyncio.fixture
async def practice(tmp_path: Path, vault: VaultPeer) -> AsyncIterator[Practice]:
    async with (
        records_process(tmp_path, vault.peer, vault.log_in()) as bench,
        preview_processes(tmp_path) as processes,
        working(bench, processes.peer),
    ):
        yield Practice(bench, processes, await bench.add_patient())
