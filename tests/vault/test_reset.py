"""Factory reset: who may, what a cut leaves, and that nothing of before opens afterwards, by whatever copy."""

from __future__ import annotations

import contextlib
import shutil
from itertools import count
from pathlib import Path

import pytest
import tpm2_pytss as tss

from appliance.contracts.vault import (
    VAULT,
    AcceptKitSheet,
    AcceptUnlocking,
    BeginReset,
    ChooseUnlocking,
    Claim,
    DescribeOpening,
    FinishProvisioning,
    FinishReset,
    Lock,
    MakeKit,
    NotePresence,
    OpenDatabase,
    UnlockByComputer,
    WrapDocumentKey,
)
from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.formats.boot_policy import FLOOR_INDEX
from appliance.formats.kit_sheets import CHECKED_WORDS
from appliance.vault import tpm_unlock
from appliance.vault.hierarchy import unwrap_old_document_key
from appliance.vault.keys import read_key_file
from appliance.vault.reset import BEGUN_MARK, CLEARED_MARK, PRESENCE_S, RIGHT_FILE, TICKET_S, read_reset_right
from appliance.vault.tpm_nv import COUNTER_INDEX, ERASURE_INDEXES
from appliance.vault.tpm_unlock import CHANGE_INDEXES
from tests.simulators.release import IMAGE
from tests.simulators.tpm_look import indexes, loads
from tests.vault.bench import PASSWORD, PROVISION, Running

DOCUMENT = "d" * 32
OWN_INDEXES = (*ERASURE_INDEXES, COUNTER_INDEX, *CHANGE_INDEXES, FLOOR_INDEX)


async def claimed(running: Running) -> tuple[str, str]:
    """Give the printed code, which the claim does not use up, and a session."""
    made = await running.ask(PROVISION)
    await running.ask(FinishProvisioning())
    claim = Claim(code=made.claim_code, name="Ada", password=PASSWORD, practice_name="Nord", telephone="040 1")
    return made.claim_code, (await running.ask(claim)).session


async def begin(running: Running, code: str) -> str:
    return (await running.ask(BeginReset(code=code))).ticket


async def reset(running: Running, code: str) -> None:
    await running.ask(NotePresence())
    await running.ask(FinishReset(ticket=await begin(running, code)))


async def kit(running: Running, session: str) -> list[str]:
    """Make a kit, accept it, give its sheets."""
    new = await running.ask(MakeKit(session=session, password=PASSWORD))
    for number, sheet in enumerate(new.sheets, start=1):
        words = sheet.split()
        asked = [words[place - 1] for place in CHECKED_WORDS[:2]]
        await running.ask(AcceptKitSheet(session=session, kit=new.kit, sheet=number, words=asked))
    return list(new.sheets)


def remove_data(folder: Path) -> None:
    """Do what the shipped unit's commands say (tests/architecture/test_reset_unit.py runs the commands themselves)."""
    shutil.rmtree(folder)
    folder.mkdir()


# --- the right and the presence ---------------------------------------------------------------------------------


async def test_the_printed_code_and_a_held_button_reset_the_box(bench):
    async with bench.open() as running:
        code, session = await claimed(running)
        await running.ask(NotePresence())
        ticket = await begin(running, f" {code.lower()} ")
        assert running.vault.is_made
        await running.ask(FinishReset(ticket=ticket))
        assert not running.vault.is_made
        assert running.vault.ends.is_set()
        assert (await running.ask(DescribeOpening())).why == "resetting"
        with pytest.raises(Unavailable, match="shut"):
            await running.ask(OpenDatabase())
    assert bench.audit.actions[-1] == "box_reset"
    assert (bench.folder / BEGUN_MARK).exists()
    assert not (bench.folder / CLEARED_MARK).exists()


@pytest.mark.parametrize("pair", [(0, 1), (2, 0), (1, 2)])
async def test_any_two_sheets_of_the_kit_in_use_are_the_right(bench, pair):
    async with bench.open() as running:
        _, session = await claimed(running)
        sheets = await kit(running, session)
        await running.ask(NotePresence())
        begun = await running.ask(BeginReset(first=sheets[pair[0]], second=sheets[pair[1]].upper()))
        await running.ask(FinishReset(ticket=begun.ticket))
    assert (bench.folder / BEGUN_MARK).exists()


async def test_one_sheet_and_a_replaced_kit_are_no_right(bench):
    async with bench.open() as running:
        _, session = await claimed(running)
        old = await kit(running, session)
        await kit(running, session)
        with pytest.raises(Invalid, match="reset_right"):
            await running.ask(BeginReset(first=old[0]))
        with pytest.raises(Invalid, match="kit_same_sheet"):
            await running.ask(BeginReset(first=old[0], second=old[0]))
        with pytest.raises(Refused, match="reset_kit"):
            await running.ask(BeginReset(first=old[0], second=old[1]))
    assert bench.audit.actions[-1] == "reset_refused"


async def test_without_presence_there_is_no_reset(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        ticket = await begin(running, code)
        with pytest.raises(Refused, match="reset_presence"):
            await running.ask(FinishReset(ticket=ticket))
        assert running.vault.is_made
    assert not (bench.folder / BEGUN_MARK).exists()


async def test_presence_counts_for_two_minutes(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        ticket = await begin(running, code)
        await running.ask(NotePresence())
        bench.steady.at += PRESENCE_S + 1
        with pytest.raises(Refused, match="reset_presence"):
            await running.ask(FinishReset(ticket=ticket))
        await running.ask(NotePresence())
        bench.steady.at += PRESENCE_S
        await running.ask(FinishReset(ticket=ticket))
    assert (bench.folder / BEGUN_MARK).exists()


async def test_presence_does_not_outlive_vault(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        await running.ask(NotePresence())
    async with bench.open() as running:
        with pytest.raises(Refused, match="reset_presence"):
            await running.ask(FinishReset(ticket=await begin(running, code)))


async def test_without_the_right_there_is_no_reset_and_guesses_are_slowed_down(bench):
    async with bench.open() as running:
        await claimed(running)
        await running.ask(NotePresence())
        for _ in range(5):
            with pytest.raises(Refused, match="reset_code"):
                await running.ask(BeginReset(code="00000-00000-00000-00000"))
        with pytest.raises(Unavailable, match="slow_down"):
            await running.ask(BeginReset(code="00000-00000-00000-00000"))
        for ticket in ("x" * 43, "ö" * 43):
            with pytest.raises(Refused, match="reset_ticket"):
                await running.ask(FinishReset(ticket=ticket))
        assert running.vault.is_made
    assert not (bench.folder / BEGUN_MARK).exists()


async def test_a_right_that_was_proven_ends_after_a_quarter_of_an_hour(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        ticket = await begin(running, code)
        bench.steady.at += TICKET_S
        await running.ask(NotePresence())
        with pytest.raises(Refused, match="reset_ticket"):
            await running.ask(FinishReset(ticket=ticket))


@pytest.mark.parametrize("set_by_s", [-86400 * 365, 86400 * 365], ids=["back", "forward"])
async def test_a_clock_that_is_set_makes_no_press_and_no_right_longer_or_shorter(bench, set_by_s):
    async with bench.open() as running:
        code, _ = await claimed(running)
        await running.ask(NotePresence())
        old = await begin(running, code)
        bench.steady.at += PRESENCE_S + 1
        bench.clock.at += set_by_s
        with pytest.raises(Refused, match="reset_presence"):
            await running.ask(FinishReset(ticket=old))
        bench.steady.at += TICKET_S
        await running.ask(NotePresence())
        with pytest.raises(Refused, match="reset_ticket"):
            await running.ask(FinishReset(ticket=old))
        ticket = await begin(running, code)
        await running.ask(NotePresence())
        bench.clock.at += set_by_s
        bench.steady.at += PRESENCE_S
        await running.ask(FinishReset(ticket=ticket))
    assert (bench.folder / BEGUN_MARK).exists()


def test_nobody_but_presence_says_that_somebody_is_there_and_practice_alone_cannot():
    assert VAULT.verbs["NotePresence"].callers == {"presence"}
    assert VAULT.verbs["BeginReset"].callers == VAULT.verbs["FinishReset"].callers == {"practice"}
    assert [name for name, verb in VAULT.verbs.items() if "presence" in verb.callers] == ["NotePresence"]


async def test_a_repeated_provision_voids_the_code_before_it(bench):
    async with bench.open() as running:
        first = (await running.ask(PROVISION)).claim_code
        second = (await running.ask(PROVISION)).claim_code
        with pytest.raises(Refused, match="reset_code"):
            await begin(running, first)
        assert await begin(running, second)


async def test_the_entry_in_the_log_comes_before_the_mark(bench):
    marked: dict[str, bool] = {}
    bench.audit.before_answer = lambda entry: marked.update({entry.action: (bench.folder / BEGUN_MARK).exists()})
    async with bench.open() as running:
        code, _ = await claimed(running)
        await reset(running, code)
    assert marked["box_reset"] is False


async def test_a_log_that_is_away_stops_no_reset(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        bench.audit.before_answer = _away
        await reset(running, code)
    assert (bench.folder / BEGUN_MARK).exists()
    assert "box_reset" not in bench.audit.actions


def _away(_: object) -> None:
    raise Unavailable("storage")


# --- locked and shut --------------------------------------------------------------------------------------------


async def test_a_locked_box_is_reset_by_the_code_and_by_the_kit_although_it_has_no_key(bench):
    async with bench.open() as running:
        code, session = await claimed(running)
        sheets = await kit(running, session)
        await running.ask(Lock(session=session))
    async with bench.open() as running:
        assert running.vault.waits_for == "password"
        assert await begin(running, code)
        await running.ask(NotePresence())
        begun = await running.ask(BeginReset(first=sheets[0], second=sheets[2]))
        await running.ask(FinishReset(ticket=begun.ticket))
    await _goes_on_to_the_end(bench)


async def test_a_box_whose_pin_nobody_knows_is_reset_with_all_tries_used_up(bench):
    """The lockout hierarchy has an authorisation value then, and nobody has the root key that it follows from."""
    async with bench.open() as running:
        code, session = await claimed(running)
        choice = ChooseUnlocking(session=session, password=PASSWORD, way="pin", label="Ada", pin="314159")
        spare = (await running.ask(choice)).spare
        await running.ask(AcceptUnlocking(session=session, code=spare[-5:]))
    async with bench.open() as running:
        for _ in range(10):
            with contextlib.suppress(Refused, Unavailable):
                await running.ask(UnlockByComputer(secret=spare, pin="271828"))
        assert (await running.vault.tpm.read_tries())[0] == 0
        await reset(running, code)
    await _goes_on_to_the_end(bench)


async def test_a_shut_box_is_reset_and_a_put_back_word_on_who_may_is_written_anew(bench):
    async with bench.open() as running:
        code, session = await claimed(running)
        before = (bench.folder / RIGHT_FILE).read_bytes()
        await kit(running, session)
        right = read_reset_right(bench.folder)
        (bench.folder / RIGHT_FILE).write_bytes(before)
    async with bench.open():
        assert read_reset_right(bench.folder) == right
    (bench.folder / "state").write_bytes(b"")
    async with bench.start() as running:
        assert running.vault.shut_because == "state"
        with pytest.raises(Refused, match="reset_code"):
            await begin(running, "0" * 20)
        await reset(running, code)
    await _goes_on_to_the_end(bench)


async def test_a_tpm_that_may_not_be_cleared_refuses_before_anything_happened(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        with running.vault.tpm._connection.session() as session:
            running.vault.tpm._connection.esys.clear_control(tss.ESYS_TR.LOCKOUT, True, session1=session)
        with pytest.raises(Refused, match="clear_disabled"):
            await reset(running, code)
        assert running.vault.is_made
    assert not (bench.folder / BEGUN_MARK).exists()
    async with bench.open() as running:
        assert running.vault.is_made


async def choose_pin(running: Running, session: str) -> None:
    choice = ChooseUnlocking(session=session, password=PASSWORD, way="pin", label="Ada", pin="314159")
    spare = (await running.ask(choice)).spare
    await running.ask(AcceptUnlocking(session=session, code=spare[-5:]))


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_cut_at_any_step_of_choosing_a_pin_leaves_a_box_that_can_be_reset(bench, nth, monkeypatch):
    """The lockout hierarchy never has a value that a shut box does not know without the policy that stands in."""
    steps = count(1)

    def cut_before(step):
        def cut_or_do(*words, **more):
            if next(steps) == nth:
                raise PowerCut
            return step(*words, **more)

        return cut_or_do

    async with bench.open() as running:
        code, session = await claimed(running)
        esys = running.vault.tpm._connection.esys
        with monkeypatch.context() as patch:
            patch.setattr("appliance.vault.tpm_unlock.allow_clear", cut_before(tpm_unlock.allow_clear))
            for name in ("hierarchy_change_auth", "dictionary_attack_parameters"):
                patch.setattr(esys, name, cut_before(getattr(esys, name)))
            with pytest.raises(PowerCut):
                await choose_pin(running, session)
    (bench.folder / "state").write_bytes(b"")  # shut: nothing heals it at an opening
    async with bench.start() as running:
        assert running.vault.shut_because == "state"
        await reset(running, code)
    await _goes_on_to_the_end(bench)


async def test_a_value_without_the_policy_refuses_before_anything_happened_and_the_next_opening_heals_it(bench):
    """As a release left it that set the value alone."""
    async with bench.open() as running:
        code, _ = await claimed(running)
        tpm, authorisation = running.vault.tpm, running.vault.keys.keys.lockout_authorisation
        with tpm._connection.session() as session:
            tpm._connection.esys.hierarchy_change_auth(tss.ESYS_TR.LOCKOUT, authorisation, session1=session)
        with pytest.raises(Refused, match="clear_unauthorised"):
            await reset(running, code)
        assert running.vault.is_made
        assert not (bench.folder / BEGUN_MARK).exists()
        with pytest.raises(Tampered, match="clear_unauthorised"):
            await tpm.clear()
    async with bench.open() as running:
        assert running.vault.is_made
    (bench.folder / "state").write_bytes(b"")
    async with bench.start() as running:
        await reset(running, code)
    await _goes_on_to_the_end(bench)


async def test_a_value_that_is_not_ours_keeps_nobody_out_and_no_reset_begins_or_crashes(bench):
    async with bench.open() as running:
        code, _ = await claimed(running)
        esys = running.vault.tpm._connection.esys
        with running.vault.tpm._connection.session() as session:
            esys.hierarchy_change_auth(tss.ESYS_TR.LOCKOUT, b"somebody's", session1=session)
    for _ in range(3):  # the first wrong value locks the hierarchy out; that is no reason either
        async with bench.open() as running:
            with pytest.raises(Refused, match="clear_unauthorised"):
                await reset(running, code)
            assert running.vault.is_made
    (bench.folder / BEGUN_MARK).touch()  # of a release that did not look first
    async with bench.start() as running:
        assert running.vault.shut_because == "clear_unauthorised"
    assert not (bench.folder / CLEARED_MARK).exists()


async def _goes_on_to_the_end(bench):
    async with bench.start() as running:
        assert running.vault.shut_because == "resetting"
        assert indexes(bench.tcti).isdisjoint(OWN_INDEXES)
    assert (bench.folder / CLEARED_MARK).exists()
    remove_data(bench.folder)
    async with bench.open() as running:
        assert (await running.ask(DescribeOpening())).state == "unprovisioned"
        await claimed(running)


# --- cuts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", ["after the begun mark", "after the clear", "after the cleared mark"])
async def test_a_reset_that_was_cut_goes_on_to_the_end(bench, cut, monkeypatch):
    async with bench.open() as running:
        code, _ = await claimed(running)
        await reset(running, code)
    if cut == "after the clear":
        with monkeypatch.context() as patch:
            patch.setattr("appliance.vault.vault.write_synced", _power_cut)
            with pytest.raises(PowerCut):
                async with bench.start():
                    pass
        assert indexes(bench.tcti).isdisjoint(OWN_INDEXES)
        assert not (bench.folder / CLEARED_MARK).exists()
    elif cut == "after the cleared mark":
        async with bench.start():
            pass
        (bench.folder / BEGUN_MARK).unlink()  # the data's step takes it away first
    await _goes_on_to_the_end(bench)


async def test_a_cut_before_the_mark_leaves_the_box_as_it_was(bench, monkeypatch):
    async with bench.open() as running:
        code, session = await claimed(running)
        with monkeypatch.context() as patch:
            patch.setattr("appliance.vault.vault.write_synced", _power_cut)
            with pytest.raises(PowerCut):
                await reset(running, code)
    async with bench.open() as running:
        assert running.vault.is_made
        assert running.vault.state.accounts.members


class PowerCut(Exception):
    """The power was cut."""


def _power_cut(*_: object, **__: object) -> None:
    raise PowerCut


# --- what is dead afterwards ------------------------------------------------------------------------------------


async def test_nothing_of_before_opens_on_the_same_tpm_nor_from_a_whole_copy_of_the_disk(bench, tmp_path):
    async with bench.open() as running:
        code, _ = await claimed(running)
        wrapped = (await running.ask(WrapDocumentKey(document=DOCUMENT, key=b"k" * 32))).wrapped
        old_keys = running.vault.keys.keys
        assert unwrap_old_document_key(old_keys.newest.document_keys, DOCUMENT, wrapped) == b"k" * 32
    copy = tmp_path / "copy"
    shutil.copytree(bench.folder, copy)
    halves = read_key_file(copy).halves
    assert loads(bench.tcti, halves[0])  # the control: before, the TPM knows them
    async with bench.open() as running:
        await reset(running, code)
    async with bench.start():
        pass
    assert not any(loads(bench.tcti, half) for half in halves)
    with pytest.raises(Tampered, match="other_tpm"):
        async with bench.open(copy):
            pass
    remove_data(bench.folder)
    async with bench.open() as running:  # the next owner's box
        await claimed(running)
        new_keys = running.vault.keys.keys
        with pytest.raises(Tampered, match="document_key"):
            unwrap_old_document_key(new_keys.newest.document_keys, DOCUMENT, wrapped)
        assert new_keys.database != old_keys.database
    with pytest.raises(Tampered, match="other_tpm"):
        async with bench.open(copy):
            pass
    async with bench.open() as running:
        assert running.vault.is_made


async def test_provisioning_after_a_reset_sets_the_floor_to_the_running_releases_epoch(bench):
    """Clear takes the floor away, so an older signed release could open the new box, were it not set again."""
    bench.release.sign(IMAGE, epoch=5)
    async with bench.open() as running:
        code, _ = await claimed(running)
        await reset(running, code)
    async with bench.start():
        assert FLOOR_INDEX not in indexes(bench.tcti)
    remove_data(bench.folder)
    async with bench.open() as running:
        await claimed(running)
    bench.release.sign(IMAGE, epoch=4)
    with pytest.raises(Tampered, match="release_too_old"):
        async with bench.open():
            pass
    bench.release.sign(IMAGE, epoch=6)
    async with bench.open() as running:
        assert running.vault.is_made
