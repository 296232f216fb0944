"""Lock now, and the three ways to open again: by keys where a way says so, counted by the TPM and by no file."""

import asyncio
import shutil
from typing import NamedTuple

import pytest

from appliance.contracts.vault import (
    AcceptUnlocking,
    BeginTurn,
    CheckSession,
    ChooseUnlocking,
    Describe,
    DescribeOpening,
    DescribeUnlocking,
    FinishTurn,
    Lock,
    LogIn,
    NameLiveShares,
    OpenDatabase,
    OpenShare,
    PairComputer,
    ProveDevice,
    ReadTries,
    RemoveComputer,
    ShowShare,
    TurnDocumentKeys,
    TurningKey,
    UnlockByComputer,
    UnlockByPassword,
    UnwrapDocumentKey,
    WatchOpening,
    WrapDocumentKey,
)
from appliance.core.errors import NotFound, Refused, Unavailable
from appliance.vault import keys, tpm_unlock
from appliance.vault.keys import KEY_FILE
from appliance.vault.lock_answers import WAITING_S
from appliance.vault.vault import LOCKED_MARK
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import PASSWORD, PROVISION

PIN, WRONG_PIN = "314159", "271828"
STRANGER = "A" * 43


class Chosen(NamedTuple):
    """What opens the box from now on."""

    secret: str
    spare: str


async def chosen(vault, session, way, pin=None):
    """Choose, and type the spare code's end back; give the computer's secret and the code."""
    spare = await choice(vault, session, way, pin)
    if not spare:
        return Chosen("", "")
    made = await vault.ask(AcceptUnlocking(session=session, code=spare[-5:].lower()))
    return Chosen(made.secret, spare)


async def choice(vault, session, way, pin=None):
    call = ChooseUnlocking(session=session, password=PASSWORD, way=way, label="Front desk", pin=pin)
    return (await vault.ask(call)).spare


async def log_in(vault):
    return (await vault.ask(LogIn(name="Ada", password=PASSWORD))).session


async def database_key(vault):
    return (await vault.ask(OpenDatabase())).key


async def waits_for(vault):
    opening = await vault.ask(DescribeOpening())
    assert (opening.state == "locked") == bool(opening.why)
    return opening.why


async def unlock_by_password(vault, password=PASSWORD):
    await vault.ask(UnlockByPassword(name="Ada", password=password))


# --- lock now --------------------------------------------------------------------------------------------------


async def test_a_locked_vault_gives_nothing_but_the_word_that_it_is_locked(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        await vault.ask(Lock(session=session))
        assert await waits_for(vault) == "password"
        for call in (
            Describe(),
            OpenDatabase(),
            NameLiveShares(),
            LogIn(name="Ada", password=PASSWORD),
            ShowShare(proof=share.proof),
            OpenShare(proof=share.proof, pin=share.pin),
            ShowShare(proof=bytes(32)),
            ProveDevice(nonce=bytes(32), portal_certificate_sha256=bytes(32)),
            PROVISION,
        ):
            with pytest.raises(Unavailable, match="locked"):
                await vault.ask(call)
        with pytest.raises((Refused, Unavailable)):
            await vault.ask(CheckSession(session=session))
        assert vault.vault.ends.is_set()
        assert bench.audit.actions[-1] == "box_locked"


async def test_a_locked_vault_holds_no_key(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        await vault.ask(Lock(session=session))
        assert (vault.vault._opened, vault.vault._store) == (None, None)
        assert vault.vault.tpm._device is None


async def test_whoever_watches_is_told_at_once(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        watching = asyncio.create_task(vault.ask(WatchOpening(state="open")))
        await asyncio.sleep(0)
        await vault.ask(Lock(session=session))
        assert (await asyncio.wait_for(watching, 10)).state == "locked"


@pytest.mark.parametrize("mark", ["kept", "taken away"])
async def test_the_lock_outlives_a_start_though_somebody_takes_the_mark_away(bench, mark):
    async with bench.open() as vault:
        session = await vault.claimed()
        key = await database_key(vault)
        await vault.ask(Lock(session=session))
    if mark == "taken away":
        (bench.folder / LOCKED_MARK).unlink()
    async with bench.start() as vault:
        assert await waits_for(vault) == "password"
        with pytest.raises(Refused, match="login"):
            await unlock_by_password(vault, "wrong horse battery")
        assert await waits_for(vault) == "password"
        with pytest.raises(Unavailable, match="locked"):
            await database_key(vault)
        await unlock_by_password(vault)
        assert await database_key(vault) == key
        assert bench.audit.actions[-1] == "box_unlocked"
    async with bench.open() as vault:
        assert await database_key(vault) == key


async def test_a_lock_in_the_middle_of_a_turn_costs_no_document_and_the_turn_goes_on(bench):
    document, key = "d" * 32, b"k" * 32
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        before = await vault.ask(WrapDocumentKey(document=document, key=key))
        await vault.ask(BeginTurn(generation=before.generation + 1))
        await vault.ask(Lock(session=session))
        for call in (
            FinishTurn(generation=before.generation + 1),
            TurnDocumentKeys(documents=[TurningKey(document=document, wrapped=before.wrapped)]),
        ):
            with pytest.raises(Unavailable, match="locked"):
                await vault.ask(call)
    async with bench.start() as vault:
        await unlock_by_password(vault)
        assert len(vault.vault.keys.keys.erasure) == 2
        turning = TurnDocumentKeys(documents=[TurningKey(document=document, wrapped=before.wrapped)])
        (after,) = (await vault.ask(turning)).wrapped
        await vault.ask(FinishTurn(generation=before.generation + 1))
        assert len(vault.vault.keys.keys.erasure) == 1
        turned = UnwrapDocumentKey(document=document, wrapped=after, generation=before.generation + 1)
        assert (await vault.ask(turned)).key == key
        with pytest.raises(Unavailable, match="key_turned"):
            old = UnwrapDocumentKey(document=document, wrapped=before.wrapped, generation=before.generation)
            await vault.ask(old)
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r


async def test_a_state_of_before_the_lock_does_not_open(bench, tmp_path):
    async with bench.open() as vault:
        session = await vault.claimed()
        older = shutil.copytree(bench.folder, tmp_path / "older")
        await vault.ask(Lock(session=session))
    async with bench.start(older) as vault:
        assert vault.vault.shut_because == "state_rolled_back"


async def test_guesses_at_a_locked_box_are_slowed_down(bench):
    async with bench.open() as vault:
        await vault.ask(Lock(session=await vault.claimed()))
        for _ in range(5):
            with pytest.raises(Refused, match="login"):
                await unlock_by_password(vault, "wrong horse battery")
        with pytest.raises(Unavailable, match="slow_down"):
            await unlock_by_password(vault)


async def test_a_box_that_is_open_is_not_opened(bench):
    async with bench.open() as vault:
        await vault.claimed()
        with pytest.raises(Refused, match="unlocked"):
            await unlock_by_password(vault)
        with pytest.raises(Refused, match="unlocked"):
            await vault.ask(UnlockByComputer(secret=STRANGER))


async def test_only_a_session_locks(bench):
    async with bench.open() as vault:
        await vault.claimed()
        with pytest.raises(Refused, match="session"):
            await vault.ask(Lock(session="x" * 43))
        assert await waits_for(vault) == ""


# --- the ways, at a start --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["itself", "pin", "computer"])
async def test_each_way_opens_a_cold_box_with_the_same_root_key(bench, way):
    pin = PIN if way == "pin" else None
    async with bench.open() as vault:
        session = await vault.claimed()
        key = await database_key(vault)
        made = await chosen(vault, session, way, pin)
        assert await database_key(vault) == key
    for secret in (made.secret, made.spare.lower().replace("-", " ")) if way != "itself" else ("",):
        async with bench.start() as vault:
            if way != "itself":
                assert await waits_for(vault) == way
                with pytest.raises(Unavailable, match="locked"):
                    await database_key(vault)
                with pytest.raises(Refused, match="unlocked"):
                    await unlock_by_password(vault)
                await vault.ask(UnlockByComputer(secret=secret, pin=pin))
            assert await database_key(vault) == key


@pytest.mark.parametrize(("old", "new"), [("itself", "computer"), ("computer", "pin"), ("pin", "itself")])
async def test_a_key_file_of_before_a_change_opens_nothing(bench, tmp_path, old, new):
    """Not even with all that opened it then: its change part is gone from the TPM."""
    async with bench.open() as vault:
        session = await vault.claimed()
        await chosen(vault, session, old, PIN if old == "pin" else None)
        older = (bench.folder / KEY_FILE).read_bytes()
        await chosen(vault, session, new, PIN if new == "pin" else None)
    (bench.folder / KEY_FILE).write_bytes(older)
    async with bench.start() as vault:
        assert vault.vault.shut_because == "change_part"


@pytest.mark.parametrize("way", ["pin", "computer"])
async def test_a_power_cut_in_a_change_leaves_the_old_way_or_the_new_one(bench, monkeypatch, way):
    async with bench.open() as vault:
        session = await vault.claimed()

        async def cut(*_):
            raise RuntimeError("power")

        monkeypatch.setattr(vault.vault.tpm, "drop_change_part", cut)
        with pytest.raises(RuntimeError):
            await chosen(vault, session, way, PIN if way == "pin" else None)
    monkeypatch.undo()
    async with bench.start() as vault:
        assert await waits_for(vault) == way  # the new file was whole; who has no secret of it uses the recovery kit


async def test_a_power_cut_before_the_new_file_leaves_the_old_way(bench, monkeypatch):
    async with bench.open() as vault:
        session = await vault.claimed()
        key = await database_key(vault)

        def cut(*_):
            raise RuntimeError("power")

        monkeypatch.setattr(keys, "write_key_file", cut)
        with pytest.raises(RuntimeError):
            await chosen(vault, session, "computer")
    monkeypatch.undo()
    async with bench.open() as vault:
        assert await database_key(vault) == key


@pytest.mark.parametrize("way", ["pin", "computer"])
async def test_a_choice_counts_only_when_its_code_is_on_paper(bench, way):
    """An answer that is lost, a window that is closed and a power cut leave the box as it was."""
    pin = PIN if way == "pin" else None
    async with bench.open() as vault:
        session = await vault.claimed()
        key = await database_key(vault)
        spare = await choice(vault, session, way, pin)
        end = spare[-5:]
        for wrong in (
            spare[:5] if spare[:5] != end else "00000",
            "-",
            end[:-1],
            end[:-1] + ("0" if end[-1] != "0" else "1"),
        ):
            with pytest.raises(Refused, match="spare_code"):
                await vault.ask(AcceptUnlocking(session=session, code=wrong))
        assert (await vault.ask(DescribeUnlocking(session=session))).way == "itself"
    async with bench.open() as vault:
        assert await database_key(vault) == key
        session = await log_in(vault)
        with pytest.raises(NotFound, match="unlocking_choice"):
            await vault.ask(AcceptUnlocking(session=session, code=end))
        end = (await choice(vault, session, way, pin))[-5:]
        bench.clock.at += WAITING_S
        session = await log_in(vault)
        with pytest.raises(NotFound, match="unlocking_choice"):
            await vault.ask(AcceptUnlocking(session=session, code=end))
        end = (await choice(vault, session, way, pin))[-5:]
        await vault.ask(AcceptUnlocking(session=session, code=end))
        with pytest.raises(NotFound, match="unlocking_choice"):
            await vault.ask(AcceptUnlocking(session=session, code=end))
        assert (await vault.ask(DescribeUnlocking(session=session))).way == way


async def test_the_thief_of_the_whole_box_gets_nothing_without_the_paired_computer(bench):
    """Files and that very TPM: no secret, no try, and the parts that open give another key than the root key."""
    async with bench.open() as vault:
        session = await vault.claimed()
        made = await chosen(vault, session, "computer")
        key = await database_key(vault)
    async with bench.start() as vault:
        with pytest.raises(Refused, match="computer"):
            await vault.ask(UnlockByComputer(secret=STRANGER))
        assert await waits_for(vault) == "computer"
        file = (bench.folder / KEY_FILE).read_text()
        assert key.hex() not in file
        assert made.secret not in file
        assert made.spare not in file


async def test_another_tpm_opens_nothing_with_the_computer_and_the_pin(bench, tmp_path):
    async with bench.open() as vault:
        await chosen(vault, await vault.claimed(), "pin", PIN)
    with software_tpm(tmp_path / "other") as tcti:
        async with bench.start(tcti=tcti) as vault:
            assert vault.vault.shut_because == "other_tpm"


# --- PINs ------------------------------------------------------------------------------------------------------


async def test_a_wrong_pin_counts_in_the_tpm_and_old_files_give_no_try_back(bench, tmp_path):
    async with bench.open() as vault:
        made = await chosen(vault, await vault.claimed(), "pin", PIN)
        assert (await vault.ask(ReadTries())).left == tpm_unlock.MAX_TRIES
    older = shutil.copytree(bench.folder, tmp_path / "older")
    for left in (tpm_unlock.MAX_TRIES - 1, tpm_unlock.MAX_TRIES - 2):
        async with bench.start(older) as vault:
            with pytest.raises(Refused, match="unlock_pin") as refused:
                await vault.ask(UnlockByComputer(secret=made.secret, pin=WRONG_PIN))
            assert refused.value.details == {"tries_left": left}
            assert bench.audit.actions[-1] == "unlock_pin_wrong"
        shutil.rmtree(older)
        shutil.copytree(bench.folder, older)


async def test_after_ten_wrong_pins_the_right_one_waits_and_the_wait_is_told(bench):
    async with bench.open() as vault:
        made = await chosen(vault, await vault.claimed(), "pin", PIN)
    async with bench.start() as vault:
        for _ in range(tpm_unlock.MAX_TRIES - 1):
            with pytest.raises(Refused, match="unlock_pin"):
                await vault.ask(UnlockByComputer(secret=made.secret, pin=WRONG_PIN))
        for pin in (WRONG_PIN, PIN):
            with pytest.raises(Unavailable, match="pin_lockout") as waits:
                await vault.ask(UnlockByComputer(secret=made.secret, pin=pin))
            assert waits.value.details == {"wait_s": tpm_unlock.TRY_RETURNS_S}
        tries = await vault.ask(ReadTries())
        assert (tries.left, tries.wait_s) == (0, tpm_unlock.TRY_RETURNS_S)
    async with bench.start() as vault:
        with pytest.raises(Unavailable, match="pin_lockout"):
            await vault.ask(UnlockByComputer(secret=made.secret, pin=PIN))


async def test_a_right_pin_gives_all_tries_back(bench):
    async with bench.open() as vault:
        made = await chosen(vault, await vault.claimed(), "pin", PIN)
    async with bench.start() as vault:
        with pytest.raises(Refused, match="unlock_pin"):
            await vault.ask(UnlockByComputer(secret=made.secret, pin=WRONG_PIN))
        await vault.ask(UnlockByComputer(secret=made.secret, pin=PIN))
        assert (await vault.ask(ReadTries())).left == tpm_unlock.MAX_TRIES


async def test_a_guest_without_a_paired_computer_cannot_make_the_tpm_count(bench):
    async with bench.open() as vault:
        await chosen(vault, await vault.claimed(), "pin", PIN)
    async with bench.start() as vault:
        for guess in range(3 * tpm_unlock.MAX_TRIES):
            with pytest.raises(Refused, match="computer"):
                await vault.ask(UnlockByComputer(secret=f"{guess:043}", pin=PIN))
        assert (await vault.ask(ReadTries())).left == tpm_unlock.MAX_TRIES


# --- computers -------------------------------------------------------------------------------------------------


async def test_a_key_file_of_two_changes_before_meets_another_change_part(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        older = (bench.folder / KEY_FILE).read_bytes()
        await chosen(vault, session, "computer")
        await chosen(vault, session, "itself")
    (bench.folder / KEY_FILE).write_bytes(older)
    async with bench.start() as vault:
        assert vault.vault.shut_because == "tpm_authorisation"


@pytest.mark.parametrize("way", ["pin", "computer"])
async def test_a_computer_that_was_removed_opens_nothing_and_the_others_do(bench, way):
    pin = PIN if way == "pin" else None
    async with bench.open() as vault:
        session = await vault.claimed()
        key = await database_key(vault)
        made = await chosen(vault, session, way, pin)
        pair = PairComputer(session=session, password=PASSWORD, label="Back office")
        second = (await vault.ask(pair)).secret
        named = {one.label: one.computer for one in (await vault.ask(DescribeUnlocking(session=session))).computers}
        assert set(named) == {"Front desk", "Back office", ""}
        await vault.ask(RemoveComputer(session=session, computer=named["Front desk"]))
    async with bench.start() as vault:
        with pytest.raises(Refused, match="computer"):
            await vault.ask(UnlockByComputer(secret=made.secret, pin=pin))
        await vault.ask(UnlockByComputer(secret=second, pin=pin))
        assert await database_key(vault) == key


async def test_choosing_asks_for_the_password_once_more(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        with pytest.raises(Refused, match="login"):
            await vault.ask(
                ChooseUnlocking(session=session, password="wrong horse battery", way="computer", label="x")
            )
        assert (await vault.ask(DescribeUnlocking(session=session))).way == "itself"
