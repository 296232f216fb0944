"""The power is cut anywhere in vault's writing: no try is given back, no share is lost, nothing older opens.

One run of changes is recorded (cut_disk.py); then the power is cut after every step of it, and each disk that may be
left is opened. `CUTS` (environment) says how many disks at least; the seed is printed.
"""

import contextlib
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from appliance.core.errors import Tampered
from appliance.vault import files, shares, store
from appliance.vault.clock import Clock
from appliance.vault.erasure_slots import ErasureKey
from appliance.vault.hierarchy import Keys
from appliance.vault.shares import Share
from appliance.vault.state import BoxFacts, State
from appliance.vault.store import Store
from appliance.vault.tpm import Tpm
from tests.vault.cut_disk import CountingTpm, Disk, RecordedOs, Step

SEED = int(os.environ.get("SEED", "20"))
CUTS = int(os.environ.get("CUTS", "2000"))
KEYS = Keys.of(b"root" * 8, [ErasureKey(1, b"erasure " * 4)])
NOW = 1_800_000_000
#: How many older files are put back on each disk.
PUT_BACK = 3


class NoSync:
    """The module `os` for opening disks in the thousands: nothing is waited for."""

    def __getattr__(self, name):
        return getattr(os, name)

    def fsync(self, _):
        """Do not wait."""


@dataclass
class Run:
    """A recorded run: its steps, each answer being one of them, and every file that was ever whole."""

    steps: list[Step] = field(default_factory=list)
    older: list[tuple[int, bytes]] = field(default_factory=list)


def clock():
    return Clock(lambda: NOW, lambda: 0.0)


def make_share(number):
    name = f"{number:032x}"
    return Share(
        share=name,
        proof_verifier=bytes.fromhex(name) * 2,
        patient="0" * 32,
        documents=["d" * 32],
        made_by="5" * 32,
        made_at=NOW,
        expires_at=NOW + 10**6,
        pin_verifier=b"v" * 32,
        pin="123456",
        r=b"r" * 32,
    )


def acts(chance, state, number):
    """Give a random act on a random share, as the answers of vault do it."""
    live = [name for name, share in state.shares.items() if share.r is not None]
    act = chance.choice(["make", "wrong", "wrong", "right", "print", "revoke"]) if live else "make"
    if act == "make":
        share = make_share(number)
        yield lambda state, now: replace(state, shares=shares.add(state.shares, share))
        yield on(share.share, shares.publish)
        return
    name = chance.choice(live)
    if act == "print":
        yield on(name, lambda share, _: shares.confirm_pin(share, "5" * 32))
    elif act == "revoke":
        yield on(name, shares.revoke)
    else:
        yield on(name, shares.take_try)
        yield on(name, shares.count_wrong if act == "wrong" else shares.give_back_try)


def on(name, rule):
    def change(state, now):
        changed = rule(state.shares[name], now)
        return state if changed is state.shares[name] else replace(state, shares=shares.put(state.shares, changed))

    return change


async def record(folder: Path, changes: int) -> Run:
    """Run so many changes, with a restart now and then, and write everything down."""
    folder.mkdir(parents=True)
    run, chance = Run(), random.Random(SEED)
    tpm = CountingTpm(run.steps)
    with RecordedOs(run.steps).installed(), patch.object(store, "MIN_CHANGES_BYTES", 4096):
        vault = await Store.make(folder, KEYS, clock(), tpm, State(box=facts()))
        run.steps.append(Step("answer", value=vault.state))
        for number in range(changes):
            if chance.random() < 0.1:
                vault = await Store.open(folder, KEYS, clock(), tpm)
            for change in acts(chance, vault.state, number):
                await vault.change(change)
                run.steps.append(Step("answer", value=vault.state))
                run.older.append((len(run.steps), (folder / "state").read_bytes()))
    return run


def facts():
    words = {name: "x" for name in ("box", "serial", "page_host", "lan_host", "portal_address", "portal_name")}
    return BoxFacts(**words, page_port=1, lan_port=2, portal_ca="c")


@contextlib.contextmanager
def opening(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    with patch.object(files, "os", NoSync()):
        yield folder


async def opened(folder: Path, names: dict[str, bytes], count: int) -> State | None:
    """Open what is left; None if vault refuses it."""
    for path in folder.iterdir():
        path.unlink()
    for name, data in names.items():
        (folder / name).write_bytes(data)
    try:
        return (await Store.open(folder, KEYS, clock(), CountingTpm([], count))).state
    except Tampered:
        return None


async def faults_of(run: Run, folder: Path, wanted: int) -> tuple[int, list[str]]:
    """Cut everywhere, open everything; give how many disks were opened, and a sentence for each fault."""
    chance = random.Random(SEED)
    answers = [place for place, step in enumerate(run.steps) if step.kind == "answer"]
    found: list[str] = []
    disks, rounds = 0, 0
    with opening(folder):
        while disks < wanted:
            disk, told = Disk(), -1
            rounds += 1
            for place, step in enumerate(run.steps):
                disk.take(step)
                told += step.kind == "answer"
                if told < 0:
                    continue
                allowed = [run.steps[at].value for at in answers[told : told + 2]]
                for names in disk.after_a_cut(chance):
                    disks += 1
                    state = await opened(folder, names, disk.count)
                    if state is None or not any(is_same(state, one) for one in allowed):
                        found.append(
                            f"cut after step {place} ({step.kind}): {'nothing opens' if state is None else 'another state'}"
                        )
                known = [data for at, data in run.older if at <= place]
                for data in chance.sample(known, min(PUT_BACK, len(known))):
                    disks += 1
                    state = await opened(folder, {"state": data}, disk.count)
                    if state is not None and gains(state, allowed[0]):
                        found.append(f"after step {place}: an older state was put back and gained something")
    return disks, found


def is_same(state, other):
    return state.shares == other.shares and state.box == other.box


def gains(older, state):
    """Say whether somebody gains by the older state, in plain words: more tries, or a share that had ended."""
    for name, share in older.shares.items():
        now = state.shares.get(name)
        if share.r is not None and (now is None or now.r is None or now.tries_left < share.tries_left):
            return True
    return False


async def test_no_cut_gives_a_try_back_or_loses_a_share(tmp_path):
    run = await record(tmp_path / "run", changes=60)
    disks, found = await faults_of(run, tmp_path / "cut", CUTS)
    print(f"seed {SEED}: {len(run.steps)} steps, {disks} disks opened")
    assert disks >= CUTS
    assert not found, found[:5]


# --- planted faults: the same harness must see each of them ---------------------------------------------------


def without(kind):
    """Leave a step of the disk out: the file's sync, or the folder's."""

    def fsync(self, descriptor):
        inode = self._open[descriptor]
        if ("sync" if inode else "sync_folder") != kind:
            self._log.append(Step("sync", inode) if inode else Step("sync_folder"))

    return lambda: patch.object(RecordedOs, "fsync", fsync)


def moved_before_synced():
    def write_synced(path, data, mode=0o600):
        new = path.with_name(path.name + files.NEW)
        descriptor = files.os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        files.os.write(descriptor, data)
        new.replace(path)
        files.os.fsync(descriptor)
        os.close(descriptor)
        files.sync_folder(path.parent)

    return patch.object(store, "write_synced", write_synced)


def written_in_place():
    def write_synced(path, data, mode=0o600):
        files._write_new(path, data, mode)
        files.sync_folder(path.parent)

    return patch.object(store, "write_synced", write_synced)


def counted_before_written():
    async def write_counted(self, state, why):
        count = await self._tpm.increment_counter(b"")
        self._position = replace(self._position, count=count)
        await self._write(state, count)

    return patch.object(Store, "_write_counted", write_counted)


def answered_before_written():
    async def change(self, change):
        """The write happens after the next change is asked for."""
        if getattr(self, "late", None) is not None:
            await self._write_counted(self.late, "change")
        changed = change(self.state, NOW)
        self.late = self.state = changed
        return changed

    return patch.object(Store, "change", change)


def tries_not_counted():
    return patch.object(store, "must_be_counted", lambda old, new: False)


def two_counts_behind_is_fine():
    class Forgiving(int):
        def __eq__(self, other):
            return other <= int(self)

        __hash__ = int.__hash__

    read = CountingTpm.read_counter

    async def read_counter(self, authorisation):
        return Forgiving(await read(self, authorisation))

    return patch.object(CountingTpm, "read_counter", read_counter)


PLANTED = {
    "file_not_synced": without("sync"),
    "folder_not_synced": without("sync_folder"),
    "moved_before_synced": moved_before_synced,
    "written_in_place": written_in_place,
    "counted_before_written": counted_before_written,
    "answered_before_written": answered_before_written,
    "tries_not_counted": tries_not_counted,
    "older_counts_accepted": two_counts_behind_is_fine,
}


@pytest.mark.parametrize("fault", PLANTED)
async def test_a_planted_fault_is_found(tmp_path, fault):
    with PLANTED[fault]():
        run = await record(tmp_path / "run", changes=12)
        _, found = await faults_of(run, tmp_path / "cut", 1)
    assert found


async def test_the_counter_of_the_model_is_a_tpms(tcti):
    """The model's counter answers as swtpm's does: it rises by one, and one made anew begins above."""
    tpm = Tpm(tcti)
    await tpm.open()
    try:
        for counter in (tpm, CountingTpm([])):
            first = await counter.make_counter(b"a" * 32)
            assert await counter.read_counter(b"a" * 32) == first
            assert await counter.increment_counter(b"a" * 32) == first + 1
            assert await counter.make_counter(b"a" * 32) > first + 1
    finally:
        await tpm.close()


async def test_the_file_is_appended_to_and_folded_in_the_recorded_run(tmp_path):
    """Else the cuts would miss one of the two ways of writing."""
    run = await record(tmp_path / "run", changes=60)
    kinds = [step.kind for step in run.steps]
    counted = kinds.count("answer")
    assert 5 < kinds.count("move") < counted / 2
    assert kinds.count("write") - kinds.count("create") > counted / 2
