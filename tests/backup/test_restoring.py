"""A restore that is interrupted, refused, or meets a store with less in it; fetched and taken in portions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.backup.portions import in_portions
from appliance.contracts import backup as contract
from appliance.contracts.snapshots import AdoptFiles
from appliance.core.errors import NotFound, Refused, Unavailable
from tests.backup.bench import Box, box, folder_store

PASSWORD = "password-of-the-kit"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disks of a box that made a backup and is gone."""
    folder = tmp_path_factory.mktemp("old")

    async def make() -> None:
        async with box(folder / "old") as old:
            (old.disks / "share").mkdir()
            old.records.fill(90)
            await old.set_store(folder_store())
            assert (await old.back_up()).code == ""

    asyncio.run(make())
    return folder / "old/disks"


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "disks"))


@contextlib.asynccontextmanager
async def new_box(folder: Path, store: Path, *, keep: bool = False) -> AsyncIterator[Box]:
    async with box(folder, disks=store, keep=keep) as running:
        running.vault.password, running.vault.sheets = None, PASSWORD
        yield running


async def test_a_restore_that_was_killed_goes_on_where_records_is(tmp_path: Path, store: Path) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        running.records.waits_at["FinishRestore"] = asyncio.Event()
        await running.ask(contract.StartRestore, generation=generation)
        await running.records.reached.setdefault("AdoptFiles", asyncio.Event()).wait()
        running.keeper._task.cancel()  # an end of the process at any moment
        await running.keeper.wait()
        taken = dict(running.records.rows)
    async with new_box(tmp_path / "new", store, keep=True) as again:
        again.records.rows, again.records.opened = taken, generation
        again.records.wanted = running.records.wanted
        await again.records.reached.setdefault("FinishRestore", asyncio.Event()).wait()
        outcome = await again.ended("last_restore")
        assert (outcome.code, len(again.records.rows)) == ("", 90)


async def test_a_restore_that_failed_is_repeated_and_asks_for_what_is_left_only(tmp_path: Path, store: Path) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        running.records.fails_at["AdoptFiles"] = [Unavailable("disk_full")]
        assert (await running.restore(generation)).code == "disk_full"
        assert (await running.state()).next_at == 0  # no backup of half a practice
        assert not any(running.desk.folders.restored.iterdir())
        assert (await running.restore(generation)).code == ""
        assert len(running.records.rows) == 90


async def test_the_same_place_typed_again_after_a_restore_still_opens_and_takes_the_new_kit_in(
    tmp_path: Path, store: Path
) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        assert (await running.restore(generation)).code == ""
        running.vault.password, running.vault.sheets = "password-of-the-new-kit", None
        await running.set_store(folder_store())
        assert (await running.back_up()).code == ""


async def test_never_more_than_two_portions_lie_on_the_disk(tmp_path: Path, store: Path) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        most = 0
        fetch = running.desk.folders.make_restored

        def counting(folders: list[str]) -> None:
            nonlocal most
            fetch(folders)
            sealed = running.desk.folders.restored / "snapshot/current/sealed"
            most = max(most, sum(any(folder.iterdir()) for folder in sealed.iterdir()))

        running.desk.folders.__dict__["make_restored"] = counting
        generation = (await running.state()).generations[0].generation
        assert (await running.restore(generation)).code == ""
        folders = {name[:2] for name in running.records.rows}
        assert most <= 2 * -(-len(folders) // 16)
        assert running.records.calls.count("AdoptFiles") == 16


async def test_files_that_the_store_lost_are_counted_and_the_rest_comes_back(tmp_path: Path, store: Path) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        lost: list[str] = []

        def lose(call: AdoptFiles) -> None:
            if not lost:
                path = next((running.records.copy / "sealed" / call.folders[0]).iterdir())
                path.unlink()
                lost.append(path.name)

        running.records.hooks["AdoptFiles"] = lose
        outcome = await running.restore(generation)
        assert (outcome.code, outcome.missing, len(running.records.rows)) == ("", 1, 89)


async def test_a_restore_is_refused_without_sheets_without_a_store_and_for_an_unknown_generation(
    tmp_path: Path, store: Path
) -> None:
    async with new_box(tmp_path / "new", store) as running:
        with pytest.raises(Refused, match="no_store"):
            await running.ask(contract.StartRestore, generation=7)
        await running.set_store(folder_store(), old=True)
        with pytest.raises(NotFound, match="generation"):
            await running.ask(contract.StartRestore, generation=7)
        running.vault.sheets = None
        with pytest.raises(Refused, match="no_restore"):
            await running.ask(contract.StartRestore, generation=7)
        with pytest.raises(Refused, match="no_restore"):
            await running.set_store(folder_store(), old=True)


async def test_a_box_with_patients_of_its_own_stays_as_it_is_and_may_back_up_again(
    tmp_path: Path, store: Path
) -> None:
    async with new_box(tmp_path / "new", store) as running:
        running.records.fill(3)
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        assert (await running.restore(generation)).code == "not_empty"
        assert running.desk.state.now.restoring == 0
        assert len(running.records.rows) == 3


async def test_a_restore_that_is_given_up_is_forgotten(tmp_path: Path, store: Path) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        running.records.fails_at["AdoptFiles"] = [Unavailable("disk_full")]
        await running.restore(generation)
        await running.ask(contract.AbandonRestore)
        assert running.records.rows == {}
        assert running.desk.state.now.restoring == 0


async def test_no_restore_begins_while_one_is_given_up(tmp_path: Path, store: Path) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        running.records.waits_at["AbandonRestore"] = asyncio.Event()
        giving_up = asyncio.ensure_future(running.ask(contract.AbandonRestore))
        await running.records.reached.setdefault("AbandonRestore", asyncio.Event()).wait()
        with pytest.raises(Refused, match="busy"):
            await running.ask(contract.StartRestore, generation=generation)
        running.records.waits_at["AbandonRestore"].set()
        await giving_up
        assert (await running.state()).running is None


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 256])
def test_portions_hold_every_folder_once(count: int) -> None:
    folders = [f"{number:02x}" for number in range(count)]
    portions = in_portions(folders)
    assert sorted(folder for portion in portions for folder in portion) == folders
    assert len(portions) == min(16, count)


async def test_a_damaged_pack_costs_the_files_in_it_and_the_rest_comes_back(tmp_path: Path) -> None:
    async with box(tmp_path / "old") as old:
        (old.disks / "share").mkdir()
        for number in range(40):
            old.records.put(f"{number:02x}/" + "f" * 32, random.Random(number).randbytes(20_000))
        await old.set_store(folder_store())
        assert (await old.back_up()).code == ""
        before = {pack for pack in (old.disks / "share/praxissafe/data").rglob("*") if pack.is_file()}
        old.records.put("00/" + "0" * 32, b"whole")
        assert (await old.back_up()).code == ""
        after = {pack for pack in (old.disks / "share/praxissafe/data").rglob("*") if pack.is_file()}
    damaged = max(before & after, key=lambda pack: pack.stat().st_size)
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    async with new_box(tmp_path / "new", tmp_path / "old/disks") as running:
        await running.set_store(folder_store(), old=True)
        outcome = await running.restore((await running.state()).generations[-1].generation)
        assert (outcome.code, outcome.missing) == ("", 40)
        assert "00/" + "0" * 32 in running.records.rows


async def test_what_a_portion_brought_that_is_no_plain_file_is_gone_before_records_looks(
    tmp_path: Path, store: Path
) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        make, seen = running.desk.folders.make_restored, []

        def make_and_spoil(folders: list[str]) -> None:
            make(folders)
            if len(folders) < 256:
                (running.records.copy / "sealed" / folders[0] / "link").symlink_to("/etc/passwd")
                (running.records.copy / "sealed" / folders[0] / "folder/deep").mkdir(parents=True)

        def look(call: AdoptFiles) -> None:
            for name in call.folders:
                seen.extend(
                    path
                    for path in (running.records.copy / "sealed" / name).iterdir()
                    if path.name in ("link", "folder")
                )

        running.desk.folders.__dict__["make_restored"] = make_and_spoil
        running.records.hooks["AdoptFiles"] = look
        outcome = await running.restore((await running.state()).generations[0].generation)
        assert (outcome.code, outcome.missing, seen) == ("", 0, [])


# --- the list of what was erased --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def lists_in(folder: Path, lists: list[list[list]]) -> AsyncIterator[Path]:
    """Give the disks of a box that saved these lists of what was erased, one after the other, and is gone."""
    async with box(folder / "lists") as old:
        (old.disks / "share").mkdir()
        old.records.fill(5)
        await old.set_store(folder_store())
        for erased in lists:
            old.records.erased = erased
            assert (await old.back_up()).code == ""
    yield folder / "lists/disks"


async def test_a_restore_that_ends_while_records_finishes_leaves_the_list_for_the_next_start(
    tmp_path: Path, store: Path
) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        generation = (await running.state()).generations[0].generation
        running.records.waits_at["FinishRestore"] = asyncio.Event()
        await running.ask(contract.StartRestore, generation=generation)
        await running.records.reached.setdefault("FinishRestore", asyncio.Event()).wait()
        running.keeper._task.cancel()  # locked
        await running.keeper.wait()
        assert (running.desk.folders.restored / "snapshot/erased.json").is_file()
    async with new_box(tmp_path / "new", store, keep=True) as again:
        earlier = running.records
        again.records.rows, again.records.wanted, again.records.opened = earlier.rows, earlier.wanted, generation
        await again.records.reached.setdefault("FinishRestore", asyncio.Event()).wait()
        assert (await again.ended("last_restore")).code == ""
        assert "OpenCopy" not in again.records.calls  # nothing is fetched again
        assert not any(again.desk.folders.restored.iterdir())


async def test_another_generation_than_the_one_that_was_finishing_is_fetched_and_not_taken_for_it(
    tmp_path: Path, store: Path
) -> None:
    async with new_box(tmp_path / "new", store) as running:
        await running.set_store(folder_store(), old=True)
        running.desk.state.change(restoring=7, rows_taken=True, finishing=True)
        outcome = await running.restore((await running.state()).generations[0].generation)
        assert (outcome.code, outcome.documents, len(running.records.rows)) == ("", 90, 90)


async def test_a_list_that_the_kit_does_not_prove_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    true, untrue = [["5" * 32, 7]], [["5" * 32, 7], ["6" * 32, 8]]
    async with lists_in(tmp_path, [true, untrue]) as disks, new_box(tmp_path / "new", disks) as running:
        running.records.unproven = [json.dumps(untrue)]
        await running.set_store(folder_store(), old=True)
        outcome = await running.restore((await running.state()).generations[-1].generation)
        assert (outcome.code, outcome.erased) == ("", 1)
        assert running.records.calls.count("FinishRestore") == 2


async def test_a_restore_ends_without_a_list_once_the_store_has_none_that_is_proven(tmp_path: Path) -> None:
    untrue = [["6" * 32, 8]]
    async with lists_in(tmp_path, [untrue]) as disks, new_box(tmp_path / "new", disks) as running:
        running.records.unproven = [json.dumps(untrue)]
        await running.set_store(folder_store(), old=True)
        outcome = await running.restore((await running.state()).generations[-1].generation)
        assert (outcome.code, outcome.erased) == ("", 0)


async def test_a_list_that_is_gone_when_records_looks_is_fetched_again(tmp_path: Path) -> None:
    async with lists_in(tmp_path, [[["5" * 32, 7]]]) as disks, new_box(tmp_path / "new", disks) as running:
        running.records.fails_at["FinishRestore"] = [NotFound("erased_list")]
        await running.set_store(folder_store(), old=True)
        outcome = await running.restore((await running.state()).generations[-1].generation)
        assert (outcome.code, outcome.erased) == ("", 1)


async def test_the_newest_list_is_the_one_with_the_greatest_number_whatever_the_clock_said(tmp_path: Path) -> None:
    """The second is saved later, in a time zone further west: its time reads as earlier."""
    async with box(tmp_path / "old") as old:
        (old.disks / "share").mkdir()
        old.records.fill(5)
        await old.set_store(folder_store())
        repository = await old.desk.open_with_kit(old.desk.stores.required())
        for zone, erased in (("Etc/GMT-9", [["5" * 32, 7]]), ("Etc/GMT+9", [["5" * 32, 7], ["6" * 32, 8]])):
            old.records.erased = erased
            repository._restic._environment["TZ"] = zone
            await old.desk.save_erased(repository)
        assert (await old.back_up()).code == ""
    async with new_box(tmp_path / "new", tmp_path / "old/disks") as running:
        await running.set_store(folder_store(), old=True)
        outcome = await running.restore((await running.state()).generations[-1].generation)
        assert (outcome.code, outcome.erased) == ("", 2)


async def test_a_list_is_numbered_above_all_that_the_store_has(tmp_path: Path) -> None:
    async with box(tmp_path / "old") as old:
        (old.disks / "share").mkdir()
        await old.set_store(folder_store())
        repository = await old.desk.open_with_kit(old.desk.stores.required())
        await old.desk.save_erased(repository)
        await repository.save_erased(40)
        old.records.erased = [["5" * 32, 7]]
        await old.desk.save_erased(repository)
        assert (await repository.list()).last_list == 41
