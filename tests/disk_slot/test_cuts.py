"""The power is cut after every step, of the first run and of the one after: a slot and its file always stay, and one at the end.

A step is a change of the LUKS2 header by cryptsetup (whole or not there, by its own two copies) or a call that changes
the boot partition. What was renamed and is not yet synced may be there or not: each cut is made both ways.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from appliance.disk_slot import slot_files
from appliance.disk_slot.keeping import keep_slot
from appliance.disk_slot.luks import Luks, by_key_file
from appliance.disk_slot.open_disk import open_slot
from tests.disk_slot.disk import Disk, Kit, run

OLD, NEW = Kit.of(1), Kit.of(2)
CHANGES = ("put_token", "add_slot", "kill_slot", "remove_token")
#: More than any run has; that a run was not cut says that all its steps were tried.
MOST_STEPS = 40


class PowerCut(BaseException):
    """The end of the machine."""


@contextlib.contextmanager
def power_for(steps: int, *, renames_stay: bool = True) -> Iterator[None]:
    """Let so many steps be done; the next one raises PowerCut."""
    left = steps
    unsynced: list[Path] = []
    really_sync = os.fsync

    def step_before(do: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*words: Any, **named: Any) -> Any:
            nonlocal left
            if not left:
                raise PowerCut
            left -= 1
            return do(*words, **named)

        return counted

    def replace(new: Path, path: Path) -> None:
        os.replace(new, path)
        unsynced.append(path)

    def fsync(descriptor: int) -> None:
        really_sync(descriptor)
        unsynced.clear()

    with contextlib.ExitStack() as patches:
        for name in CHANGES:
            patches.enter_context(patch.object(Luks, name, step_before(getattr(Luks, name))))
        for owner, name, do in (
            (Path, "replace", replace),
            (Path, "unlink", Path.unlink),
            (slot_files.os, "fsync", fsync),
        ):
            stand_in = step_before(do)
            patches.enter_context(patch.object(owner, name, lambda *a, _do=stand_in, **b: _do(*a, **b)))
        try:
            yield
        except PowerCut:
            patches.close()
            for path in [] if renames_stay else unsynced:
                path.unlink()
            raise


def keep(disk: Disk, kit: Kit) -> bool:
    return keep_slot(disk.luks, disk.files, kit.public, by_key_file(str(disk.key_file)))


def kits_that_open(disk: Disk) -> set[str]:
    """Give the kits of which two sheets and a file of the boot partition open the disk now."""
    found = set()
    for file in disk.slot_files():
        for kit in (OLD, NEW):
            with contextlib.suppress(Exception):  # a half-written file, one of the other kit
                if disk.luks.opens(open_slot(file.read_bytes(), *kit.sheets[1:])):
                    found.add(kit.opened.kit)
    return found


def assert_kept(disk: Disk, others: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """One slot, token and file of the newest kit, which open; what is not ours is as it was."""
    assert kits_that_open(disk) == {NEW.opened.kit}
    assert len(disk.kit_tokens()) == len(disk.slot_files()) == 1
    assert disk.not_ours() == others
    assert disk.luks.opens(b"installer", 0)
    assert keep(disk, NEW) is False


@pytest.fixture
def disk_before(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Disk, Path]:
    """A disk that a TPM's token opens too, with what the case has of a kit; and where it lies as a whole."""
    disk = Disk(tmp_path / "disk")
    quick = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    run("cryptsetup", "luksAddKey", "-q", *quick, "--key-file", str(disk.key_file), str(disk.path), "-", sent=b"tpm")
    token = b'{"type":"systemd-tpm2","keyslots":["1"],"tpm2-blob":"AA==","tpm2-pcrs":[],"tpm2-policy-hash":"00"}'
    run("cryptsetup", "token", "import", "--json-file", "-", str(disk.path), sent=token)
    if request.param in ("the kit before", "a damaged file"):
        keep(disk, OLD if request.param == "the kit before" else NEW)
    if request.param == "a damaged file":
        disk.slot_files()[0].write_bytes(b"damaged")
    shutil.copytree(tmp_path / "disk", tmp_path / "kept")
    return disk, tmp_path / "kept"


def put_back(disk: Disk, kept: Path) -> None:
    folder = disk.path.parent
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)


each_beginning = pytest.mark.parametrize("disk_before", ["no kit", "the kit before", "a damaged file"], indirect=True)


@each_beginning
@pytest.mark.parametrize("renames_stay", [True, False])
def test_a_cut_after_any_step_leaves_a_slot_and_the_next_run_exactly_one(disk_before, renames_stay):
    disk, kept = disk_before
    others, opened_before = disk.not_ours(), kits_that_open(disk)
    for steps in range(MOST_STEPS):
        try:
            with power_for(steps, renames_stay=renames_stay):
                keep(disk, NEW)
        except PowerCut:
            assert not opened_before or kits_that_open(disk), f"nothing opens after {steps} steps"
            keep(disk, NEW)
            assert_kept(disk, others)
            put_back(disk, kept)
        else:
            assert steps > 5
            assert_kept(disk, others)
            return
    raise AssertionError("never all steps")


@pytest.mark.parametrize("disk_before", ["the kit before"], indirect=True)
@pytest.mark.parametrize("first", range(1, 13))
def test_a_cut_of_the_run_after_a_cut_costs_no_more(disk_before, first):
    disk, kept = disk_before
    others = disk.not_ours()
    for second in range(first % 3, MOST_STEPS, 3):
        with contextlib.suppress(PowerCut), power_for(first):
            keep(disk, NEW)
        try:
            with power_for(second, renames_stay=bool(second % 2)):
                keep(disk, NEW)
        except PowerCut:
            assert kits_that_open(disk), f"nothing opens after {first} and {second} steps"
            keep(disk, NEW)
            assert_kept(disk, others)
            put_back(disk, kept)
        else:
            assert_kept(disk, others)
            return


@pytest.mark.parametrize("disk_before", ["the kit before"], indirect=True)
def test_a_slot_that_came_under_a_planned_number_meanwhile_is_not_taken_for_ours(disk_before):
    """After a cut between plan and slot somebody adds a passphrase of their own, which lands there."""
    disk, _ = disk_before
    with contextlib.suppress(PowerCut), power_for(1):
        keep(disk, NEW)
    (planned,) = [token["slot"] for token in disk.kit_tokens() if not token["sealed"]]
    run("cryptsetup", "luksAddKey", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "5000", "--key-slot", str(planned),
        "--key-file", str(disk.key_file), str(disk.path), "-", sent=b"somebody")  # fmt: skip
    keep(disk, NEW)
    assert disk.luks.opens(b"somebody", planned)
    assert kits_that_open(disk) == {NEW.opened.kit}
