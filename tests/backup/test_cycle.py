"""What a backup promises: keys and rows of one moment, a test that bites, nothing of the snapshot left, honest expiry."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from appliance.backup.nights import next_backup, night_after, retry_pause
from appliance.backup.portions import PORTIONS, portion_of
from appliance.backup.restic import Access, Restic
from appliance.backup.retention import DAY_S, lapsed
from appliance.contracts import backup as contract
from appliance.contracts.snapshots import CheckCopy
from appliance.core.errors import Refused, Unavailable
from tests.backup.bench import NIGHT_S, START, Box, box, folder_store
from tests.backup.peers import DEVICE

#: In the sixteenth that the first restore test looks at.
FIRST_TESTED = "00/" + "0" * 32


@pytest.fixture
async def running(tmp_path: Path):
    async with box(tmp_path / "box") as one:
        (one.disks / "share").mkdir()
        one.records.fill(48)
        await one.set_store(folder_store())
        yield one


# --- the restore test -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["changed", "missing"])
async def test_the_restore_test_finds_a_file_that_does_not_come_back_as_it_was(running: Box, harm: str) -> None:
    running.records.put(FIRST_TESTED, b"whole")

    def spoil(_: CheckCopy) -> None:
        path = running.records.copy / "sealed" / FIRST_TESTED
        assert path.read_bytes() == b"whole"
        if harm == "changed":
            path.write_bytes(b"whale")
        else:
            path.unlink()

    running.records.hooks["CheckCopy"] = spoil
    outcome = await running.back_up()
    assert outcome.code == "copy_files"
    state = await running.state()
    assert state.last_good_at == 0
    assert [generation.tested_at for generation in state.generations] == [0]
    assert running.vault.existing == []  # nothing lapses after a copy that is not good


async def test_a_damaged_pack_in_the_store_is_found(running: Box) -> None:
    running.records.put(FIRST_TESTED, b"whole" * 500)
    assert (await running.back_up()).code == ""
    running.desk.state.change(portion=0)
    for pack in (running.disks / "share/praxissafe/data").rglob("*"):
        if pack.is_file():
            pack.chmod(0o600)
            pack.write_bytes(bytes(pack.stat().st_size))
    assert (await running.back_up()).code in {"repository_damaged", "copy_files"}


def test_sixteen_tests_look_at_every_folder_once() -> None:
    seen = [folder for number in range(PORTIONS) for folder in portion_of(number)]
    assert sorted(seen) == [f"{number:02x}" for number in range(256)]


# --- one moment -------------------------------------------------------------------------------------------------


async def test_a_snapshot_that_spans_a_change_of_the_keys_is_taken_again(running: Box) -> None:
    running.vault.marks = ["0" * 32, "1" * 32]
    assert (await running.back_up()).code == ""
    assert running.records.calls.count("MakeSnapshot") == 2
    assert running.vault.existing == [running.vault.sealed[-1]]


async def test_keys_that_never_rest_end_a_backup_before_anything_is_uploaded(running: Box) -> None:
    running.vault.marks = [f"{number:032x}" for number in range(9)]
    assert (await running.back_up()).code == "keys_turning"
    assert running.records.calls.count("MakeSnapshot") == 3
    assert not (await running.state()).generations


@pytest.mark.parametrize("verb", ["MakeSnapshot", "CheckCopy"])
async def test_the_snapshot_is_taken_away_however_a_backup_ends(running: Box, verb: str) -> None:
    running.records.fails_at[verb] = [Unavailable("disk_full")]
    assert (await running.back_up()).code == "disk_full"
    assert running.records.calls[-1] == "DropSnapshot"
    assert not running.records.current.exists()
    assert not any(running.desk.folders.restored.iterdir())


async def test_unchanged_files_are_not_read_again_although_hard_links_change_their_ctime(running: Box) -> None:
    """What restic takes for unchanged, by size, time and inode, it does not open: another content goes unnoticed."""
    running.records.put(FIRST_TESTED, b"whole")
    assert (await running.back_up()).code == ""
    path = running.records.folder / FIRST_TESTED
    about = path.stat()
    path.write_bytes(b"whale")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    running.desk.state.change(portion=0)
    assert (await running.back_up()).code == ""


async def test_the_list_of_what_was_erased_is_kept_when_it_changed_and_only_then(running: Box) -> None:
    await running.back_up()
    repository = await running.desk.open_with_kit(running.desk.stores.required())
    assert len((await repository.list()).erased) == 1
    running.clock.now += 600
    await running.keeper.look()
    assert len((await repository.list()).erased) == 1
    running.records.erased.append(["6" * 32, running.clock.now])
    await running.keeper.look()
    assert len((await repository.list()).erased) == 1  # looked at every five minutes
    running.clock.now += 300
    await running.keeper.look()
    assert len((await repository.list()).erased) == 2


# --- by itself --------------------------------------------------------------------------------------------------


async def test_a_backup_begins_at_night_and_after_a_failure_with_growing_pauses(running: Box) -> None:
    due = night_after(START, NIGHT_S)
    assert (await running.state()).next_at == due
    running.clock.now = due - 1
    await running.keeper.look()
    assert (await running.state()).running is None
    running.clock.now = due
    running.records.fails_at["MakeSnapshot"] = [Unavailable("disk_full")] * 2
    for failures in (1, 2):
        await running.keeper.look()
        assert (await running.ended("last_backup")).code == "disk_full"
        assert (await running.state()).next_at == running.clock.now + retry_pause(failures)
        running.clock.now += retry_pause(failures)
    await running.keeper.look()
    assert (await running.ended("last_backup")).code == ""
    assert (await running.state()).next_at == night_after(running.clock.now, NIGHT_S)


async def test_without_a_kit_nothing_begins(running: Box) -> None:
    running.vault.password = None
    assert (await running.state()).next_at == 0
    running.clock.now += 10 * DAY_S
    await running.keeper.look()
    assert (await running.state()).running is None
    with pytest.raises(Refused, match="no_kit"):
        await running.ask(contract.StartBackup)


async def test_locking_the_box_ends_a_backup_and_its_snapshot(tmp_path: Path) -> None:
    async with box(tmp_path / "box", keep=True) as running:
        (running.disks / "share").mkdir()
        running.records.fill(5)
        await running.set_store(folder_store())
        running.records.waits_at["CheckCopy"] = asyncio.Event()
        await running.ask(contract.StartBackup)
        await running.records.reached.setdefault("CheckCopy", asyncio.Event()).wait()
        running.vault.enter("locked")
        await running.keeper.wait()
        assert (await running.state()).running is None
        assert not running.records.current.exists()
        assert (await running.state()).last_good_at == 0


def test_a_missed_night_is_made_up_and_pauses_end_at_four_hours() -> None:
    night = night_after(START, NIGHT_S)
    assert night_after(night, NIGHT_S) == night + DAY_S
    due = next_backup(good_at=START, set_at=0, night_s=NIGHT_S, failed_at=0, failures=0, now=START)
    assert due == night  # five days later it is over, so a backup begins at once
    assert [retry_pause(number) for number in (1, 2, 3, 50)] == [300, 600, 1200, 4 * 3600]


# --- who may ----------------------------------------------------------------------------------------------------


async def test_a_device_and_a_stranger_are_answered_nothing(running: Box) -> None:
    for verb in (contract.DescribeBackup, contract.StartBackup, contract.ForgetStore, contract.ReadGenerations):
        with pytest.raises(Refused, match="session_kind"):
            await running.peer.ask(verb(session=DEVICE))
        with pytest.raises(Refused, match="session"):
            await running.peer.ask(verb(session="somebody-else-entirely"))


# --- retention --------------------------------------------------------------------------------------------------


def test_days_weeks_and_months_are_kept_and_nothing_older_than_said() -> None:
    nightly = [START - number * DAY_S for number in range(400)]
    kept: list[int] = []
    for generation in sorted(nightly):  # as it happens: night by night
        kept = [one for one in [*kept, generation] if one not in lapsed([*kept, generation], generation)]
    ages = [(START - generation) // DAY_S for generation in kept]
    assert set(range(14)) <= set(ages)
    assert 20 < len(kept) <= 14 + 8 + 6
    assert 120 < max(ages) <= 183


def test_a_clock_that_leaps_takes_no_history_with_it() -> None:
    week = [START + number * DAY_S for number in range(6)]
    assert lapsed([*week, START + 4000 * DAY_S], START + 4000 * DAY_S) == []


async def test_what_is_over_age_is_forgotten_and_the_peers_hear_what_there_still_is(running: Box) -> None:
    for _ in range(2):
        await running.back_up()
    first, second = (one.generation for one in (await running.state()).generations)
    from appliance.backup import cycle

    original, cycle.lapsed = cycle.lapsed, lambda generations, now: [first]
    try:
        assert (await running.back_up()).code == ""
    finally:
        cycle.lapsed = original
    left = [one.generation for one in (await running.state()).generations]
    assert left[0] == second
    assert len(left) == 2
    assert running.vault.existing == left


# --- a clock that was wrong -------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["good_at", "set_at", "failed_at"])
def test_a_moment_that_is_still_to_come_puts_no_backup_off(moment: str) -> None:
    moments = {"good_at": START - 3 * DAY_S, "set_at": START - 9 * DAY_S, "failed_at": START - DAY_S}
    due = next_backup(**moments | {moment: START + 4000 * DAY_S}, night_s=NIGHT_S, failures=1, now=START)
    assert due <= START


def test_nothing_lapses_while_a_generation_is_numbered_ahead_of_the_clock() -> None:
    nightly = [START - number * DAY_S for number in range(60)]
    assert lapsed(nightly, START)
    assert lapsed([*nightly, START + DAY_S + 1], START) == []
    assert lapsed([*nightly, 10**18], START) == []  # no date at all


async def test_a_number_that_somebody_wrote_into_the_store_hinders_nothing_and_counts_for_nothing(
    running: Box,
) -> None:
    await running.back_up()
    repository = await running.desk.open_with_kit(running.desk.stores.required())
    contents = running.records.contents
    await running.records.answer_make_snapshot(None, None)
    ahead = running.clock.now + 30 * DAY_S
    for number in (ahead, 10**11, 10**18):
        await repository.save_generation(number, contents, lambda *_: None)
    await running.ask(contract.ReadGenerations)
    assert (await running.back_up()).code == ""
    state = await running.state()
    assert running.clock.now in [one.generation for one in state.generations]
    assert max(one.generation for one in state.generations) == ahead
    assert state.keep_days == 0  # nothing lapses


# --- the list of what was erased, and a store that is silent ----------------------------------------------------


async def test_a_list_goes_out_within_five_minutes_after_a_store_was_set(running: Box) -> None:
    running.records.erased.append(["6" * 32, running.clock.now])
    await running.keeper.look()
    repository = await running.desk.open_with_kit(running.desk.stores.required())
    assert len((await repository.list()).erased) == 1


async def test_before_its_restore_a_box_writes_no_list_into_the_store_of_the_old_one(
    running: Box, tmp_path: Path
) -> None:
    await running.back_up()
    async with box(tmp_path / "new", disks=running.disks) as new:
        new.vault.sheets = new.vault.password
        await new.set_store(folder_store(), old=True)
        await new.keeper.look()
        assert new.desk.state.now.erased is None


async def test_a_store_is_forgotten_or_changed_although_a_backup_runs(running: Box) -> None:
    for verb, parameters in ((contract.SetStore, {"store": folder_store()}), (contract.ForgetStore, {})):
        running.records.waits_at["CheckCopy"] = asyncio.Event()
        running.records.reached.clear()
        await running.ask(contract.StartBackup)
        await running.records.reached.setdefault("CheckCopy", asyncio.Event()).wait()
        await running.ask(verb, **parameters)
        state = await running.state()
        assert (state.running, state.last_good_at) == (None, 0)
        assert not running.records.current.exists()
    assert state.store is None


async def test_a_backup_that_is_ended_before_it_began_leaves_the_box_idle(running: Box) -> None:
    running.keeper.start_backup()
    await running.keeper.end_backup()
    assert (await running.state()).running is None


async def test_restic_is_killed_when_the_store_accepts_and_then_is_silent(tmp_path: Path) -> None:
    accepted = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        access = Access({"RESTIC_REPOSITORY": f"rest:http://127.0.0.1:{port}/"})
        restic = Restic("/usr/bin/restic", access, "x", cache=tmp_path, temporary=tmp_path, silent_s=0.5)
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="store_away"):
                await restic.run("snapshots", "--no-lock")
    assert accepted.is_set()


async def test_work_that_moves_is_not_killed_and_talk_alone_is_no_work(tmp_path: Path) -> None:
    def child(program: str, *words: str) -> Restic:
        return Restic(program, Access({}, words), "x", cache=tmp_path, temporary=tmp_path, silent_s=1.0)

    await child("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=1k").run("count=3000000")
    async with asyncio.timeout(60):
        with pytest.raises(Unavailable, match="store_away"):
            await child("/bin/sh", "-c", "while :; do echo still nothing; done").run(on_line=lambda _: None)
