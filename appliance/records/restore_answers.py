"""What records answers backup about a restore; one call after the other."""

from __future__ import annotations

import asyncio

from appliance.contracts.snapshots import (
    AbandonRestore,
    AdoptedFiles,
    AdoptFiles,
    FinishRestore,
    OpenCopy,
    OpenedCopy,
    Restored,
)
from appliance.contracts.vault import OpenGeneration
from appliance.core.errors import Refused
from appliance.core.varlink import Answers, Caller, Done
from appliance.records import earlier_shares, restore, restore_end, restoring, snapshot
from appliance.records.archive import Archive
from appliance.records.restoring import Restore


class RestoreAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._one = asyncio.Lock()

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {
            OpenCopy: self.answer_open_copy,
            AdoptFiles: self.answer_adopt_files,
            FinishRestore: self.answer_finish_restore,
            AbandonRestore: self.answer_abandon_restore,
        }

    async def answer_open_copy(self, call: OpenCopy, _: Caller) -> OpenedCopy:
        """Take the rows in; the same generation again goes on, another one begins anew."""
        archive = self._archive
        async with self._one:
            opened = await archive.vault.ask(OpenGeneration(bundle=call.bundle))
            wanted = Restore(opened.box, opened.generation, opened.sealed_at, given_up=False)
            standing = await archive.database.run(restoring.standing)
            if standing == wanted:
                contents = await archive.database.run(snapshot.contents_of)
            else:
                await restore.abandon(archive)
                contents = await restore.open_copy(archive, wanted)
            return OpenedCopy(
                box=wanted.box,
                generation=wanted.generation,
                sealed_at=wanted.sealed_at,
                contents=contents,
                folders=await archive.database.run(restoring.folders_left),
            )

    async def answer_adopt_files(self, call: AdoptFiles, _: Caller) -> AdoptedFiles:
        """Take the files of some folders over."""
        async with self._one:
            await self._standing()
            done = await restore.adopt(self._archive, call.folders)
        return AdoptedFiles(files=done.files, bytes=done.bytes, missing=done.missing)

    async def answer_finish_restore(self, call: FinishRestore, _: Caller) -> Restored:
        """Erase again what was erased since; from then on every verb is answered."""
        archive = self._archive
        async with self._one:
            await self._standing()
            if await archive.database.run(restoring.folders_left):
                raise Refused("folders_left")
            erased, missing = await restore_end.finish(archive, without_list=call.without_list)
            return Restored(
                contents=await archive.database.run(snapshot.contents_of),
                erased=erased,
                missing=missing,
                shares=await archive.database.run(earlier_shares.count),
            )

    async def answer_abandon_restore(self, _: AbandonRestore, __: Caller) -> Done:
        """Give up."""
        async with self._one:
            await restore.abandon(self._archive)
        return Done()

    async def _standing(self) -> None:
        standing = await self._archive.database.run(restoring.standing)
        if standing is None or standing.given_up:
            raise Refused("no_copy")
