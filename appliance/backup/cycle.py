"""One backup: snapshot and keys of the same moment, upload, restore test, retention; in this order, or not at all.

A generation counts as good once a part of it was fetched back and records found it to be what its rows say. Old ones
lapse after that only. The snapshot is always taken away again: it would keep what is erased meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

from msgspec.structs import replace

from appliance.backup.desk import RECORDS_TIMEOUT_S, Desk
from appliance.backup.overwriting import is_overwritable
from appliance.backup.portions import PORTIONS, portion_of
from appliance.backup.repository import Kept, Repository
from appliance.backup.retention import is_ahead, lapsed
from appliance.backup.store import KeptStore
from appliance.contracts.backup import Outcome
from appliance.contracts.snapshots import CheckCopy, DropSnapshot, MakeSnapshot, Snapshot
from appliance.contracts.vault import KeepGenerations, ReadKeysMark, SealGeneration
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.journal import say

SNAPSHOT_TRIES = 3
#: Lists of what was erased: the newest counts, those before it are for a restore that finds it spoilt.
LISTS_KEPT = 3


async def back_up(desk: Desk) -> Outcome:
    """Make a generation and test it; raises what hinders it."""
    began_at = desk.now()
    kept = desk.stores.required()
    repository = await desk.open_with_kit(kept)
    if kept.password_before:
        desk.stores.keep(replace(kept, password_before=""))
    kept = await _ask_overwritable(desk)
    try:
        desk.step("snapshot")
        generation, snapshot = await _take(desk)
        await desk.save_erased(repository)
        desk.step("upload", total_files=snapshot.contents.files)
        identifier = await repository.save_generation(generation, snapshot.contents, desk.progress)
        made = Kept(identifier, generation, snapshot.contents.documents, snapshot.contents.bytes)
        desk.state.change(generations=[*desk.state.now.generations, made.shown(0)])
        await _test(desk, repository, made)
        await _let_lapse(desk, repository, kept)
    finally:
        with contextlib.suppress(PraxisError):
            await desk.records.ask(DropSnapshot(), timeout_s=RECORDS_TIMEOUT_S)
        with contextlib.suppress(PraxisError):
            desk.folders.empty_restored()
    return Outcome(
        at=desk.now(),
        code="",
        documents=snapshot.contents.documents,
        bytes=snapshot.contents.bytes,
        took_s=desk.now() - began_at,
    )


async def _take(desk: Desk) -> tuple[int, Snapshot]:
    """Have a snapshot laid out and its keys sealed beside it; Unavailable("keys_turning") if they keep changing."""
    for _ in range(SNAPSHOT_TRIES):
        before = await desk.vault.ask(ReadKeysMark())
        snapshot = await desk.records.ask(MakeSnapshot(), timeout_s=RECORDS_TIMEOUT_S)
        known = [one.generation for one in desk.state.now.generations if not is_ahead(one.generation, desk.now())]
        generation = max(desk.now(), 1 + max([desk.state.now.last_generation, *known]))
        desk.state.change(last_generation=generation)
        sealed = await desk.vault.ask(SealGeneration(generation=generation))
        if sealed.keys == before.keys:
            desk.folders.write_bundle(sealed.bundle)
            return generation, snapshot
    raise Unavailable("keys_turning")


async def _test(desk: Desk, repository: Repository, made: Kept) -> None:
    """Fetch the database and a sixteenth of the files; have records hold them against each other."""
    desk.step("fetch")
    folders = portion_of(desk.state.now.portion)
    desk.folders.empty_restored()
    desk.folders.make_restored(folders)
    await repository.fetch_rows(made.snapshot, folders)
    desk.folders.drop_strange_files()
    desk.step("check")
    await desk.records.ask(CheckCopy(folders=folders), timeout_s=RECORDS_TIMEOUT_S)
    tested = [
        replace(one, tested_at=desk.now()) if one.generation == made.generation else one
        for one in desk.state.now.generations
    ]
    desk.state.change(generations=tested, portion=(desk.state.now.portion + 1) % PORTIONS)


async def _let_lapse(desk: Desk, repository: Repository, kept: KeptStore) -> None:
    """Forget what is over age where this box may; tell vault and records what there still is."""
    listed = await repository.list()
    numbers = [one.generation for one in listed.generations]
    over = set(lapsed(numbers, desk.now())) if forgets_itself(kept) else set()
    snapshots = [one.snapshot for one in listed.generations if one.generation in over] + listed.erased[:-LISTS_KEPT]
    left = listed
    if snapshots and forgets_itself(kept):
        try:
            await repository.forget(snapshots)
            left = await repository.list()
        except PraxisError as error:  # the copy is good; what is over age goes the next time
            say("retention_failed", priority="warning", code=error.code)
    existing = [one.generation for one in desk.note_generations(left)]
    await desk.vault.ask(KeepGenerations(existing=existing[-10_000:]))


def forgets_itself(kept: KeptStore) -> bool:
    """Say whether this box lets generations lapse: not where it may only append.

    Under S3's object lock forgetting hides; the bucket's own rule removes what was hidden (docs/decisions/backup.md).
    """
    return kept.overwritable or kept.store.kind == "s3"


async def _ask_overwritable(desk: Desk) -> KeptStore:
    kept = desk.stores.required()
    now = datetime.fromtimestamp(desk.now(), UTC)
    overwritable = await asyncio.to_thread(is_overwritable, kept.store, now)
    if overwritable != kept.overwritable:
        kept = replace(kept, overwritable=overwritable)
        desk.stores.keep(kept)
    return kept
