"""An older state, put back, does not open: the state is bound to a counter in the TPM (A21)."""

import os
import shutil

import pytest
import tpm2_pytss as tss
from msgspec.structs import replace

from appliance.contracts.vault import ConfirmPin, ListShares, OpenShare, RevokeShare, ShowShare
from appliance.core.errors import Tampered, Unavailable
from appliance.vault import files, shares, staff
from appliance.vault.rollback import must_be_counted
from appliance.vault.state import BoxFacts, State
from appliance.vault.tpm_nv import COUNTER_INDEX


def copy_of(bench, tmp_path, name="copy"):
    return shutil.copytree(bench.folder, tmp_path / name)


async def refuses(bench, folder, code="state_rolled_back"):
    with pytest.raises(Tampered, match=code):
        async with bench.open(folder):
            pass


@pytest.mark.parametrize("gain", ["try", "revocation"])
async def test_an_older_state_file_does_not_open(bench, tmp_path, gain):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        older = copy_of(bench, tmp_path)
        if gain == "try":
            await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        else:
            await vault.ask(RevokeShare(session=session, share=share.share))
    shutil.copy(older / "state", bench.folder / "state")
    await refuses(bench, bench.folder)


async def test_an_older_disk_does_not_open_though_nothing_in_it_was_changed(bench, tmp_path):
    """The whole folder of an earlier day, keys and all, on the very same TPM."""
    async with bench.open() as vault:
        await vault.make_share(await vault.claimed())
    older = copy_of(bench, tmp_path)
    async with bench.open():
        pass
    await refuses(bench, older)


async def test_a_state_that_never_took_effect_opens_at_no_later_time(bench, tmp_path, monkeypatch):
    """A cut between file and counter leaves a file one ahead. Whoever keeps it must not bring it back later."""
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        before = copy_of(bench, tmp_path, "before")

        async def cut(_):
            raise Unavailable("power")

        monkeypatch.setattr(vault.vault.tpm, "increment_counter", cut)
        with pytest.raises(Unavailable, match="power"):
            await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        monkeypatch.undo()
        fork = copy_of(bench, tmp_path, "fork")
    async with bench.open(
        before
    ) as vault:  # the owner of the disk chose the older of the two: no answer was given yet
        assert (await vault.ask(ShowShare(proof=share.proof))).tries_left == 5
    await refuses(bench, fork)
    await refuses(bench, bench.folder)


async def test_a_cut_between_file_and_counter_is_completed_at_the_next_start(bench, monkeypatch):
    async with bench.open() as vault:
        share = await vault.make_share(await vault.claimed())

        async def cut(_):
            raise Unavailable("power")

        monkeypatch.setattr(vault.vault.tpm, "increment_counter", cut)
        with pytest.raises(Unavailable, match="power"):
            await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        monkeypatch.undo()
    async with bench.open() as vault:
        assert (await vault.ask(ShowShare(proof=share.proof))).tries_left == 4  # the cut cost a try and gave none
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r


async def test_a_write_that_failed_opens_at_no_later_time(bench, tmp_path, monkeypatch):
    """What was half done when the disk was full may be on it somewhere, at the count that the next change takes."""
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        kept = []

        def full(descriptor, data):
            os.write(descriptor, data)
            kept.append((bench.folder / "state").read_bytes())
            os.close(descriptor)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files, "_write_and_close", full)
        with pytest.raises(Unavailable, match="storage"):
            await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        monkeypatch.undo()
        await vault.ask(RevokeShare(session=session, share=share.share))
    (bench.folder / "state").write_bytes(kept[0])
    await refuses(bench, bench.folder)


async def test_a_counter_made_anew_does_not_open_an_older_state(bench, tmp_path):
    """By who has the firmware's rights over the TPM (the platform hierarchy): the owner's are vault's own."""
    async with bench.open() as vault:
        await vault.make_share(await vault.claimed())
    with tss.ESAPI(bench.tcti) as esys:
        esys.nv_undefine_space(esys.tr_from_tpmpublic(COUNTER_INDEX), auth_handle=tss.ESYS_TR.PLATFORM)
    await refuses(bench, bench.folder, "state_counter")
    with tss.ESAPI(bench.tcti) as esys:
        attributes = tss.TPMA_NV.parse("nt=1|authread|authwrite|no_da|platformcreate")
        public = tss.TPMS_NV_PUBLIC(
            nvIndex=COUNTER_INDEX, nameAlg=tss.TPM2_ALG.SHA256, attributes=attributes, dataSize=8
        )
        index = esys.nv_define_space(b"thief", tss.TPM2B_NV_PUBLIC(public), auth_handle=tss.ESYS_TR.PLATFORM)
        esys.tr_set_auth(index, b"thief")
        esys.nv_increment(index, auth_handle=index)
    await refuses(bench, bench.folder, "tpm_authorisation")


async def test_nobody_else_can_count(bench):
    """Else a stranger at the TPM could make the state invalid."""
    async with bench.open() as vault:
        await vault.claimed()
    with tss.ESAPI(bench.tcti) as esys:
        index = esys.tr_from_tpmpublic(COUNTER_INDEX)
        for authorised_by in (index, tss.ESYS_TR.OWNER):
            with pytest.raises(tss.TSS2_Exception):
                esys.nv_increment(index, auth_handle=authorised_by)


async def test_what_gains_nothing_is_not_counted(bench):
    """The TPM's memory wears out: showing, printing and giving a try back leave the counter alone."""
    async with bench.open() as vault:
        session = await vault.claimed()
        counted = []
        count_up = vault.vault.tpm.increment_counter

        async def increment(authorisation):
            counted.append(1)
            return await count_up(authorisation)

        vault.vault.tpm.increment_counter = increment
        share = await vault.make_share(session)
        await vault.ask(ShowShare(proof=share.proof))
        await vault.ask(ConfirmPin(session=session, share=share.share))
        await vault.ask(ListShares(session=session))
        assert not counted
        await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        assert len(counted) == 1
        await vault.ask(OpenShare(proof=share.proof, pin=share.wrong_pin))
        assert len(counted) == 2
        await vault.ask(RevokeShare(session=session, share=share.share))
        assert len(counted) == 3


def test_every_member_of_the_state_is_counted_unless_it_is_known_to_be_harmless():
    """A member that somebody adds is counted from the first day."""
    share = make_share()
    old = make_state(share)
    harmless = {"pin", "opened", "last_opened_at"}
    other = {"stage": "revoked", "documents": ["e" * 32], "r": b"s" * 32, "pin_verifier": None}
    for name in share.__struct_fields__:
        value = other.get(name, _different(getattr(share, name)))
        if name != "tries_left":
            assert must_be_counted(old, make_state(replace(share, **{name: value}))) == (name not in harmless), name
    assert must_be_counted(old, make_state(replace(share, tries_left=2)))
    assert not must_be_counted(old, make_state(replace(share, tries_left=4)))
    assert must_be_counted(old, replace(old, shares={}))
    assert not must_be_counted(replace(old, shares={}), old)
    assert not must_be_counted(old, replace(old, seen_at=5))
    assert must_be_counted(old, replace(old, box=replace(old.box, provisioned=True)))
    member = staff.Member(principal="5" * 32, name="Ada", since=1, verifier="v")
    with_member = replace(old, accounts=staff.Accounts(members={"5" * 32: member}))
    assert must_be_counted(with_member, old)
    changed = replace(with_member, accounts=staff.Accounts(members={"5" * 32: replace(member, verifier="w")}))
    assert must_be_counted(with_member, changed)


def make_share():
    return shares.Share(
        share="a" * 32,
        proof_verifier=b"p" * 32,
        patient="0" * 32,
        documents=["d" * 32],
        made_by="5" * 32,
        made_at=1,
        expires_at=100,
        pin_verifier=b"v" * 32,
        pin="123456",
        r=b"r" * 32,
        stage="open",
        tries_left=3,
    )


def make_state(share):
    facts = {name: "x" for name in ("box", "serial", "page_host", "lan_host", "portal_address", "portal_name")}
    box = BoxFacts(**facts, page_port=1, lan_port=2, portal_ca="c")
    return State(box=box, shares={share.share: share})


def _different(value):
    return value + 1 if isinstance(value, int) else value + value[:1]
