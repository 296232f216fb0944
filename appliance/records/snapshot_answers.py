"""What records answers backup about snapshots: make one, drop it, what was erased, the restore test."""

from __future__ import annotations

import asyncio
from functools import partial

from msgspec.structs import replace

from appliance.contracts.snapshots import (
    CheckCopy,
    Contents,
    DropSnapshot,
    ErasedList,
    MakeSnapshot,
    Snapshot,
    WriteErasedList,
)
from appliance.contracts.vault import ProveErasedList
from appliance.core.varlink import Answers, Caller, Done
from appliance.records import copy_check, erased, snapshot
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.threads import on_thread


class SnapshotAnswers:
    """Answers of one archive; what changes the folder goes one after the other."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._folder = asyncio.Lock()

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {
            MakeSnapshot: self.answer_make_snapshot,
            DropSnapshot: self.answer_drop_snapshot,
            WriteErasedList: self.answer_write_erased_list,
            CheckCopy: self.answer_check_copy,
        }

    async def answer_make_snapshot(self, _: MakeSnapshot, __: Caller) -> Snapshot:
        """Make a snapshot."""
        async with self._folder:
            return await snapshot.make(self._archive)

    async def answer_drop_snapshot(self, _: DropSnapshot, __: Caller) -> Done:
        """Take it away."""
        async with self._folder:
            await on_thread(self._archive.file_threads, self._archive.snapshot.drop)
        return Done()

    async def answer_write_erased_list(self, _: WriteErasedList, __: Caller) -> ErasedList:
        """Write the list of what was erased."""
        archive = self._archive
        async with self._folder:
            named, digest, summary = await archive.database.run(partial(_named, box=archive.box.box))
            proof = (await archive.vault.ask(ProveErasedList(digest=digest))).proof
            await on_thread(archive.file_threads, lambda: archive.snapshot.write_erased(erased.encode(named, proof)))
        return replace(summary, proof=proof.hex())

    async def answer_check_copy(self, call: CheckCopy, _: Caller) -> Contents:
        """Test what was fetched."""
        return await copy_check.check(self._archive, call.folders)


def _named(rows: Rows, box: str) -> tuple[erased.Named, bytes, ErasedList]:
    named = erased.named(rows, box)
    return named, named.digest(), erased.summary(rows)
