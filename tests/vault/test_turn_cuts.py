"""The erasure key turns, and the power is cut at every step of it: no document is lost, no erased one opens.

`TURN_CUTS` (environment) says how many disks at least; the seed is printed.
"""

import contextlib
import os
import random
from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from appliance.core.errors import PraxisError, Tampered
from appliance.records import erasure, turning
from appliance.records.erasure import KeyTurned
from appliance.vault import erasure_slots, files, shares
from appliance.vault.erasure_slots import ErasureKey
from appliance.vault.state_file import decode_file
from appliance.vault.store import Store
from appliance.vault.tpm import Tpm
from appliance.vault.vault import Vault
from tests.vault import cut_disk
from tests.vault.cut_disk import CountingTpm, Disk, RecordedOs, Step
from tests.vault.test_cuts import NoSync, without
from tests.vault.turn_cuts import Box, make_box, older_keys_open, open_database, start_box

SEED = int(os.environ.get("SEED", "20"))
CUTS = int(os.environ.get("TURN_CUTS", "150"))


class Run:
    """What happened, and what held after each answer: the documents' keys, and what was erased and turned away."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.before: dict[str, bytes] = {}


def facts_of(box: Box):
    """Give what must hold from now on."""
    return {"keys": dict(box.keys), "gone": {name: list(known) for name, known in box.gone.items()}}


async def record(folder: Path) -> Run:
    """Two turns with erasures, a document that comes in between, and one whose key was wrapped before the turn."""
    for name in ("vault", "records"):
        (folder / name).mkdir(parents=True)
    run = Run()
    database = await open_database(folder / "records/records.db", run.steps)
    try:
        with RecordedOs(run.steps).installed(), patch.object(turning, "KEYS_AT_ONCE", 3):
            box = await make_box(folder / "vault", database, run.steps)
            run.steps.append(Step("answer", value=facts_of(box)))
            for number in (0, 4):
                # An intake that began before the turn keeps its row when the turn is over.
                late = f"{100 + number:032x}"
                wrapped = await box.wrap(late, late_key := os.urandom(32))
                older = (folder / "vault/state").read_bytes()
                share = f"{number // 4:032x}"
                await box.vault.change(
                    lambda state, now, share=share: replace(
                        state, shares=shares.put(state.shares, shares.revoke(state.shares[share], now))
                    )
                )
                await box.erase(f"{number:032x}")
                run.steps.append(Step("answer", value=facts_of(box)))
                await box.finish()
                turned = {"turned": True, "older_state": older}
                run.steps.append(Step("answer", value=facts_of(box) | turned))
                await box.add(late, wrapped, late_key)
                await box.add(f"{200 + number:032x}")
                run.steps.append(Step("answer", value=facts_of(box) | turned))
    finally:
        database.close()
    return run


async def faults_of(run: Run, folder: Path, wanted: int) -> tuple[int, list[str]]:
    """Cut everywhere, start, let the turn finish; give how many disks were started, and a sentence for each fault.

    `wanted` 0: until the first fault.
    """
    chance = random.Random(SEED)
    found: list[str] = []
    disks = 0
    for name in ("vault", "records"):
        (folder / name).mkdir(parents=True)
    database = await open_database(folder / "records/records.db", [])
    try:
        with patch.object(files, "os", NoSync()), patch.object(turning, "KEYS_AT_ONCE", 3):
            while disks <= wanted:
                disk, told, kept = Disk(), None, None
                for place, step in enumerate(run.steps):
                    disk.take(step)
                    kept = step.value if step.kind == "commit" else kept
                    told = step.value if step.kind == "answer" else told
                    if told is None:
                        continue
                    for names in disk.after_a_cut(chance):
                        disks += 1
                        try:
                            box = await start_box(folder / "vault", database, disk, names, kept)
                            wrong = await what_is_wrong(box, told)
                        except (PraxisError, KeyTurned) as error:
                            wrong = f"does not start: {error}"
                        if wrong:
                            found.append(f"cut after step {place} ({step.kind}): {wrong}")
                            if not wanted:
                                return disks, found
    finally:
        database.close()
    return disks, found


async def what_is_wrong(box: Box, told) -> str:
    """Finish what is due, and say what does not hold then; "" if all does."""
    if any(bytes(8) in key.key for key in await box.vault.tpm.read_erasure_keys(b"")):
        return "half a key is in use"
    if told.get("turned") and older_keys_open(box, told["gone"]):
        return "an erased document opens though the turn was over"
    if told.get("turned") and state_opens(told["older_state"], box):
        return "what an ended share had opens though the turn was over"
    await box.finish()
    if await box.archive.database.run(erasure.due) is not None or len(box.vault.keys.keys.erasure) != 1:
        return "the turn does not end"
    here = await box.archive.database.run(
        lambda rows: [str(row[0]) for row in rows.all("SELECT document FROM documents")]
    )
    for document in here:
        try:
            key = await box.unwrap(document)
        except PraxisError:
            return "a document is lost"
        if document in told["keys"] and key != told["keys"][document]:
            return "a document has another key"
    if not set(told["keys"]) <= set(here) | {f"{number:032x}" for number in (0, 4)}:
        return "a document's row is lost"
    if len(box.vault.state.shares) != 3:
        return "a share is lost"
    gone = {name: known for name, known in told["gone"].items() if name not in here}
    if older_keys_open(box, gone):
        return "an erased document opens after the turn"
    return ""


def state_opens(data: bytes, box: Box) -> bool:
    try:
        decode_file(data, box.vault.keys.keys)
    except Tampered:
        return False
    return True


async def test_no_cut_in_a_turn_loses_a_document_or_lets_an_erased_one_open(tmp_path):
    run = await record(tmp_path / "run")
    disks, found = await faults_of(run, tmp_path / "cut", CUTS)
    print(f"seed {SEED}: {len(run.steps)} steps, {disks} disks started")
    assert disks >= CUTS
    assert not found, found[:5]


async def test_every_kind_of_step_is_in_the_recorded_run(tmp_path):
    """Else the cuts would miss it."""
    kinds = [step.kind for step in (await record(tmp_path / "run")).steps]
    assert kinds.count("slot") == 2 + 2 * 2 * 2  # the first key; two turns of two writes; each in two halves
    assert kinds.count("commit") > 15
    assert kinds.count("move") >= 3


# --- planted faults: the same harness must see each of them ---------------------------------------------------


def all_of(*patches):
    stack = contextlib.ExitStack()
    for one in patches:
        stack.enter_context(one)
    return stack


def destroyed_before_the_state_is_wrapped_anew():
    finish = Vault.finish_turn

    async def finish_turn(self, generation):
        keys = self.keys.keys
        if len(keys.erasure) > 1:
            await self.tpm.destroy_erasure_key(keys.erasure[0].generation, b"")
        await finish(self, generation)

    return patch.object(Vault, "finish_turn", finish_turn)


def state_not_wrapped_anew():
    async def rewrap(self):
        """Nothing is written."""

    return patch.object(Store, "rewrap", rewrap)


def next_key_in_the_same_slot():
    return all_of(patch.object(erasure_slots, "slot_of", lambda _: 0), patch.object(cut_disk, "slot_of", lambda _: 0))


def half_written_slot_believed():
    def decode(slot, number):
        generation = int.from_bytes(slot[:8], "big")
        return ErasureKey(generation, slot[8:40]) if generation else None

    return patch.object(erasure_slots, "_decode", decode)


def old_key_stays():
    async def destroy(self, generation, authorisation):
        """Nothing is written."""

    return patch.object(CountingTpm, "destroy_erasure_key", destroy)


def last_rows_forgotten():
    take = erasure.take_keys

    def take_keys(rows, table, generation, after, count):
        return take(rows, table, generation, after, count) if not after else []

    return patch.object(erasure, "take_keys", take_keys)


def keys_of_before_taken_into_rows():
    return patch.object(erasure, "check_generation", lambda rows, key: None)


def finished_before_the_rows_are():
    """The rows are synced only after the key before was destroyed."""
    late, put, finish = [], erasure.put_keys, erasure.finish

    def put_late(rows, generation):
        finish(rows, generation)
        while late:
            put(rows, **late.pop())

    return all_of(
        patch.object(erasure, "put_keys", lambda rows, **page: late.append(page)),
        patch.object(erasure, "finish", put_late),
    )


def erasure_not_noted():
    return patch.object(erasure, "note_erased", lambda rows: None)


PLANTED = {
    "destroyed_before_the_state_is_wrapped_anew": destroyed_before_the_state_is_wrapped_anew,
    "state_not_wrapped_anew": state_not_wrapped_anew,
    "state_not_synced": without("sync"),
    "next_key_in_the_same_slot": next_key_in_the_same_slot,
    "half_written_slot_believed": half_written_slot_believed,
    "old_key_stays": old_key_stays,
    "last_rows_forgotten": last_rows_forgotten,
    "keys_of_before_taken_into_rows": keys_of_before_taken_into_rows,
    "finished_before_the_rows_are": finished_before_the_rows_are,
    "erasure_not_noted": erasure_not_noted,
}


@pytest.mark.parametrize("fault", PLANTED)
async def test_a_planted_fault_is_found(tmp_path, fault):
    with PLANTED[fault]():
        run = await record(tmp_path / "run")
        _, found = await faults_of(run, tmp_path / "cut", 0)
    assert found


async def test_the_slots_of_the_model_are_a_tpms(tcti):
    """The model's slots answer as swtpm's do, also where one was written half."""
    tpm, authorisation = Tpm(tcti), b"a" * 32
    await tpm.open()
    try:
        for slots in (tpm, CountingTpm([])):
            first, second = ErasureKey(1, b"1" * 32), ErasureKey(2, b"2" * 32)
            await slots.make_erasure_slots(first, authorisation)
            assert await slots.read_erasure_keys(authorisation) == [first]
            await slots.write_erasure_key(second, authorisation)
            assert await slots.read_erasure_keys(authorisation) == [first, second]
            await slots.destroy_erasure_key(1, authorisation)
            assert await slots.read_erasure_keys(authorisation) == [second]
            await slots.destroy_erasure_key(2, authorisation)
            with pytest.raises(Tampered, match="erasure_key"):
                await slots.read_erasure_keys(authorisation)
    finally:
        await tpm.close()
