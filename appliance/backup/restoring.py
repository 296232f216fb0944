"""The way back: bundle and rows first, then the files in sixteen portions: one is fetched while one is taken in.

What is remembered is the generation alone: records says which folders still lack their files, so that an end at any
moment costs what was fetched and not taken, and nothing else. Never more than two portions lie on the disk.
While records finishes, the list of what was erased stays where it lies: an end of the process may hide the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from appliance.backup.desk import RECORDS_TIMEOUT_S, Desk
from appliance.backup.folders import BUNDLE
from appliance.backup.portions import in_portions
from appliance.backup.repository import Repository
from appliance.contracts.backup import Outcome
from appliance.contracts.snapshots import FOLDERS, AdoptedFiles, AdoptFiles, FinishRestore, OpenCopy, Restored
from appliance.core.errors import NotFound, PraxisError, Refused, Tampered
from appliance.core.journal import say

MAX_BUNDLE_BYTES = 4096
LIST_TRIES = 2


async def restore(desk: Desk, generation: int) -> Outcome:
    """Bring a generation back, or go on with it; raises what hinders it."""
    if desk.state.now.finishing and (finished := await _finished_before(desk)):
        return finished
    desk.step("fetch")
    repository, _ = await desk.open_with_sheets(desk.stores.required())
    listed = await repository.list()
    snapshot = listed.find(generation).snapshot
    try:
        desk.folders.empty_restored()
        desk.folders.make_restored(list(FOLDERS))
        await repository.fetch_rows(snapshot)
        desk.folders.drop_strange_files()
        opened = await desk.records.ask(OpenCopy(bundle=_bundle(desk)), timeout_s=RECORDS_TIMEOUT_S)
        desk.state.change(rows_taken=True)
        desk.step("adopt", total_files=opened.contents.files)
        await _adopt_all(desk, repository, snapshot, opened.folders)
        desk.step("finish")
        done = await _finish(desk, repository, listed.erased)
    finally:
        if not desk.state.now.finishing:  # else the next start finishes with the list that lies there
            with contextlib.suppress(PraxisError):
                desk.folders.empty_restored()
    return _outcome(desk, done, opened.box)


async def _finish(desk: Desk, repository: Repository, lists: Sequence[str]) -> Restored:
    """Have records finish with the newest list that the kit proves; without one if the store has none such."""
    for snapshot in reversed(lists):
        for _ in range(LIST_TRIES):
            try:
                await repository.fetch_erased(snapshot)
                desk.folders.drop_strange_files()
                desk.state.change(finishing=True)
                return await desk.records.ask(FinishRestore(), timeout_s=RECORDS_TIMEOUT_S)
            except NotFound as error:
                if error.code != "erased_list":
                    raise
            except Tampered as error:
                if error.code not in ("erased_list", "repository_damaged"):
                    raise
                say("erased_list_passed_over", priority="warning", code=error.code)
                break
    desk.state.change(finishing=True)
    return await desk.records.ask(FinishRestore(without_list=True), timeout_s=RECORDS_TIMEOUT_S)


async def _finished_before(desk: Desk) -> Outcome | None:
    """Say how it ended if records was finishing, or had finished, when this process ended; None: fetch again."""
    desk.step("finish")
    try:
        return _outcome(desk, await desk.records.ask(FinishRestore(), timeout_s=RECORDS_TIMEOUT_S), "")
    except Refused as error:
        if error.code != "no_copy":
            return None
        return Outcome(at=desk.now(), code="", took_s=desk.now() - desk.state.now.restore_began_at)
    except (Tampered, NotFound):
        return None


def _outcome(desk: Desk, done: Restored, box: str) -> Outcome:
    return Outcome(
        at=desk.now(),
        code="",
        documents=done.contents.documents,
        bytes=done.contents.bytes,
        took_s=desk.now() - desk.state.now.restore_began_at,
        box=box,
        erased=done.erased,
        missing=done.missing,
        shares=done.shares,
    )


async def _adopt_all(desk: Desk, repository: Repository, snapshot: str, folders: Sequence[str]) -> None:
    portions = in_portions(folders)
    if not portions:
        return
    await _fetch(desk, repository, snapshot, portions[0])
    for portion, following in zip(portions, [*portions[1:], None], strict=True):
        with _one_failure():
            async with asyncio.TaskGroup() as group:
                adopting = group.create_task(_adopt(desk, portion))
                if following is not None:
                    group.create_task(_fetch(desk, repository, snapshot, following))
        desk.folders.drop_restored(portion)
        _count(desk, adopting.result())


async def _fetch(desk: Desk, repository: Repository, snapshot: str, portion: list[str]) -> None:
    """Fetch the files of a portion; what a damaged pack held is missing then, and records counts it."""
    desk.folders.make_restored(portion)
    try:
        await repository.fetch_files(snapshot, portion)
    except Tampered as error:
        if error.code != "repository_damaged":
            raise
        await repository.open(None)  # a store that is away has lost nothing
        say("portion_damaged", priority="warning", folders=len(portion))
    desk.folders.drop_strange_files()


async def _adopt(desk: Desk, portion: list[str]) -> AdoptedFiles:
    return await desk.records.ask(AdoptFiles(folders=portion), timeout_s=RECORDS_TIMEOUT_S)


def _count(desk: Desk, adopted: AdoptedFiles) -> None:
    if desk.running is not None:
        desk.running.done_files += adopted.files
        desk.running.done_bytes += adopted.bytes


def _bundle(desk: Desk) -> bytes:
    try:
        with (desk.folders.restored / BUNDLE).open("rb") as file:
            return file.read(MAX_BUNDLE_BYTES + 1)[:MAX_BUNDLE_BYTES]
    except OSError as error:
        raise NotFound("copy") from error


@contextlib.contextmanager
def _one_failure() -> Iterator[None]:
    """Give the first foreseen failure of a group as itself; anything else in it is a bug and goes on as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        failures, others = group.split(PraxisError)
        if others is not None or failures is None:
            raise
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
