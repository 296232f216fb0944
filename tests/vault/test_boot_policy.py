"""Only a boot that both release key holders signed opens the keys, under Secure Boot as it was; the TPM refuses the rest.

PCRs are extended as firmware and boot loader do it. "Another start" is another swtpm on the same state: PCRs begin anew,
NV stays.
"""

import contextlib

import msgspec
import pytest
import tpm2_pytss as tss

from appliance.contracts.vault import (
    Describe,
    DescribeOpening,
    OpenDatabase,
    OpenShare,
    RaiseFloor,
    SealForSecureBoot,
)
from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.formats import boot_policy as policies
from appliance.vault import tpm_sealing
from appliance.vault.keys import KeyFile
from appliance.vault.tpm_connection import Connection
from provisioning.releases import boot_policy as holders_side
from tests.simulators.release import IMAGE, Release, booted, extended, measure
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import PROVISION, Bench

FIRMWARE, CHANGED_FIRMWARE, NEXT_IMAGE = b"keys of 2026", b"keys of 2027", b"image 2"


@pytest.fixture
def machine(tmp_path, bench):
    """Give a function that boots: (what is measured, by PCR) -> a bench on the same box, for the time of the block."""
    (tmp_path / "disk").mkdir()
    release = Release(tmp_path / "image")

    @contextlib.contextmanager
    def boot(measured):
        with software_tpm(tmp_path / "chip") as tcti:
            for pcr, data in measured.items():
                measure(tcti, pcr, data)
            yield Bench(tmp_path / "disk", tcti, bench.audit, release)

    return release, boot


async def share_made(machine, **signed):
    """Make a box with a share on its first boot."""
    release, boot = machine
    release.sign(IMAGE, **signed)
    with boot({7: FIRMWARE, 11: IMAGE}) as bench:
        async with bench.open() as vault:
            return await vault.make_share(await vault.claimed())


async def opens(boot, measured, share):
    """The box opens on this boot, and so does the share."""
    with boot(measured) as bench:
        async with bench.open() as vault:
            assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r


async def why_shut(boot, measured):
    """Give what keeps the vault shut on this boot; nothing but that is answered."""
    with boot(measured) as bench:
        async with bench.start() as vault:
            opening = await vault.ask(DescribeOpening())
            if opening.state == "shut":
                for call in (Describe(), OpenDatabase(), PROVISION, RaiseFloor()):
                    with pytest.raises(Unavailable, match="shut"):
                        await vault.ask(call)
            return opening.why


async def test_the_vault_says_which_pcr_changed_and_a_signed_boot_opens_again(machine):
    release, boot = machine
    share = await share_made(machine)
    assert await why_shut(boot, {7: FIRMWARE, 11: NEXT_IMAGE}) == "boot_image"
    assert await why_shut(boot, {7: FIRMWARE, 11: IMAGE, 12: b"systemd.unit=rescue"}) == "boot_parameters"
    assert await why_shut(boot, {7: CHANGED_FIRMWARE, 11: IMAGE}) == "boot_secure_boot"
    await opens(boot, {7: FIRMWARE, 11: IMAGE}, share)


async def test_a_new_release_opens_once_both_holders_signed_it(machine):
    release, boot = machine
    share = await share_made(machine)
    half_signed = holders_side.draft(0, [extended(NEXT_IMAGE).hex()])
    measured = {7: FIRMWARE, 11: NEXT_IMAGE}
    for key in release.holders:
        release.put(half_signed)
        assert await why_shut(boot, measured) != ""
        half_signed = holders_side.sign(half_signed, key)
    release.put(half_signed)
    await opens(boot, measured, share)


async def test_a_stranger_cannot_stand_in_for_a_holder(machine, tmp_path):
    """Also not under the holder's name: the TPM checks the signature."""
    release, boot = machine
    await share_made(machine)
    stranger = holders_side.sign(holders_side.draft(0, [extended(NEXT_IMAGE).hex()]), holders_side.new_holder_key())
    signature = stranger.boots[0].signatures[0].signature
    names = [policies.holder_fingerprint(key).hex() for key in release.public_keys]
    forged = [policies.ReleaseSignature(holder=name, signature=signature) for name in names]
    release.put(
        policies.BootPolicy(epoch=0, boots=[policies.SignedBoot(pcr11=extended(NEXT_IMAGE).hex(), signatures=forged)])
    )
    assert await why_shut(boot, {7: FIRMWARE, 11: NEXT_IMAGE}) == "release_signature"


async def test_an_older_release_opens_nothing_once_the_epoch_is_raised(machine):
    """With its own image, its own valid signatures and everything else as it was: the TPM refuses."""
    release, boot = machine
    share = await share_made(machine)
    old = release.sign(IMAGE)
    new = release.sign(NEXT_IMAGE, epoch=1)
    await opens(boot, {7: FIRMWARE, 11: NEXT_IMAGE}, share)
    release.put(old)
    await opens(boot, {7: FIRMWARE, 11: IMAGE}, share)  # until the floor is raised, the way back is open
    release.put(new)
    with boot({7: FIRMWARE, 11: NEXT_IMAGE}) as bench:
        async with bench.open() as vault:
            assert (await vault.ask(RaiseFloor())).epoch == 1
    await opens(boot, {7: FIRMWARE, 11: NEXT_IMAGE}, share)
    release.put(old)
    assert await why_shut(boot, {7: FIRMWARE, 11: IMAGE}) == "release_too_old"
    # Who writes the newer epoch into the older release's file has no signature for it.
    release.put(msgspec.structs.replace(old, epoch=1))
    assert await why_shut(boot, {7: FIRMWARE, 11: IMAGE}) == "release_signature"


async def test_the_floor_cannot_be_put_back(machine):
    """Its bits are never cleared, and nobody but vault owns the TPM, so nobody puts a fresh index in its place."""
    release, boot = machine
    await share_made(machine, epoch=3)
    with boot({7: FIRMWARE, 11: IMAGE}) as bench:
        async with bench.open() as vault:
            await vault.ask(RaiseFloor())
        with tss.ESAPI(bench.tcti) as esys:
            floor = esys.tr_from_tpmpublic(policies.FLOOR_INDEX)
            for attempt in (
                lambda: esys.nv_undefine_space(floor),
                lambda: esys.nv_set_bits(floor, 1 << 60, auth_handle=floor),
                lambda: esys.nv_set_bits(floor, 1 << 60, auth_handle=tss.ESYS_TR.OWNER),
                lambda: esys.nv_write(floor, bytes(8), auth_handle=floor),
            ):
                with pytest.raises(tss.TSS2_Exception):
                    attempt()


async def test_without_the_floor_nothing_opens(machine):
    """Taken away with the firmware's rights over the TPM."""
    release, boot = machine
    await share_made(machine)
    with boot({}) as bench, tss.ESAPI(bench.tcti) as esys:
        esys.nv_undefine_space(esys.tr_from_tpmpublic(policies.FLOOR_INDEX), auth_handle=tss.ESYS_TR.PLATFORM)
    assert await why_shut(boot, {7: FIRMWARE, 11: IMAGE}) == "epoch_floor"


async def test_a_change_of_secure_boot_that_was_foreseen_opens(machine):
    release, boot = machine
    share = await share_made(machine)
    with boot({7: FIRMWARE, 11: IMAGE}) as bench:
        async with bench.open() as vault:
            await vault.ask(SealForSecureBoot(coming=[extended(CHANGED_FIRMWARE)]))
    await opens(boot, {7: FIRMWARE, 11: IMAGE}, share)  # the update may still fail
    await opens(boot, {7: CHANGED_FIRMWARE, 11: IMAGE}, share)
    assert await why_shut(boot, {7: b"third", 11: IMAGE}) == "boot_secure_boot"
    with boot({7: CHANGED_FIRMWARE, 11: IMAGE}) as bench:
        async with bench.open() as vault:
            await vault.ask(SealForSecureBoot(coming=[]))
    assert await why_shut(boot, {7: FIRMWARE, 11: IMAGE}) == "boot_secure_boot"  # the way back is shut


async def test_the_way_there_is_a_signed_release_under_the_foreseen_state_only(machine):
    """What was foreseen weakens nothing else: an unsigned image stays out."""
    release, boot = machine
    await share_made(machine)
    with boot({7: FIRMWARE, 11: IMAGE}) as bench:
        async with bench.open() as vault:
            await vault.ask(SealForSecureBoot(coming=[extended(CHANGED_FIRMWARE)]))
    assert await why_shut(boot, {7: CHANGED_FIRMWARE, 11: NEXT_IMAGE}) == "boot_image"


@pytest.mark.parametrize("firmware", [{"SecureBoot": 0}, {"SetupMode": 1}])
async def test_no_keys_are_made_without_secure_boot(bench, firmware):
    bench.release.set_firmware(**firmware)
    async with bench.open() as vault:
        with pytest.raises(Refused, match="secure_boot"):
            await vault.ask(PROVISION)
    assert not (bench.folder / "keys").exists()


async def test_no_keys_are_made_where_the_firmware_says_nothing(bench):
    for path in bench.release.folder.glob("*-8be4*"):
        path.unlink()
    async with bench.open() as vault:
        with pytest.raises(Refused, match="secure_boot"):
            await vault.ask(PROVISION)


async def test_no_keys_are_made_by_a_boot_that_could_not_open_them(bench):
    bench.release.put(holders_side.draft(0, [extended(IMAGE).hex()]))
    async with bench.open() as vault:
        with pytest.raises(Tampered, match="release_signature"):
            await vault.ask(PROVISION)
        bench.release.sign(IMAGE)
        await vault.ask(PROVISION)  # and what was left over is no hindrance


async def test_no_keys_are_made_in_a_tpm_that_has_an_owner(bench):
    async with bench.open():
        pass  # the storage root is there
    with tss.ESAPI(bench.tcti) as esys:
        esys.hierarchy_change_auth(tss.ESYS_TR.OWNER, b"somebody")
    async with bench.start() as vault:
        with pytest.raises(Tampered, match="tpm_owned"):
            await vault.ask(PROVISION)


async def test_a_half_alone_says_nothing(bench):
    """Each half opens by its own holder's approval; the other holder's signature opens it not."""
    async with bench.open() as vault:
        await vault.ask(PROVISION)
        file = msgspec.json.decode((bench.folder / "keys").read_bytes(), type=KeyFile)
        policy, tpm = bench.release.sign(IMAGE), vault.vault.tpm
        halves = [
            await tpm.unseal(half, policy, key, file.secure_boot)
            for half, key in zip(file.halves, file.release_keys, strict=True)
        ]
        for half, key in zip(file.halves, reversed(file.release_keys), strict=True):
            with pytest.raises(Tampered):
                await tpm.unseal(half, policy, key, file.secure_boot)
    assert len({*halves, bytes(a ^ b for a, b in zip(*halves, strict=True))}) == 3


def test_the_digests_are_those_of_the_tpm(tcti, tmp_path):
    """What the holders compute without a TPM against a trial session of one."""
    release = booted(tmp_path / "boot", tcti)
    measure(tcti, 7, FIRMWARE)
    connection = Connection(tcti)
    connection.open()
    esys, key = connection.esys, release.public_keys[0]
    tpm_sealing.make_floor(connection, b"a" * 32)
    _, name = esys.nv_read_public(tpm_sealing._floor(connection))
    assert bytes(name) == policies.floor_name()
    for epoch in (0, 1, 62, 63):
        with connection.session(tss.TPM2_SE.TRIAL) as trial:
            esys.policy_pcr(trial, tss.TPM2B_DIGEST(), tpm_sealing.selection(11, 12))
            tpm_sealing._compare_floor(connection, trial, epoch)
            assert bytes(esys.policy_get_digest(trial)) == policies.approved_policy(extended(IMAGE), epoch)
    policy = release.sign(IMAGE)
    for pcr7 in ([extended(FIRMWARE)], [extended(FIRMWARE), extended(b"1"), extended(b"2")]):
        with connection.session(tss.TPM2_SE.POLICY) as session:
            tpm_sealing.satisfy(connection, session, policy, key, pcr7)
            assert bytes(esys.policy_get_digest(session)) == policies.half_policy(key, pcr7)
    with connection.session(tss.TPM2_SE.TRIAL) as trial:
        esys.policy_command_code(trial, tss.TPM2_CC.PolicyNV)
        assert bytes(esys.policy_get_digest(trial)) == policies.floor_policy()
    connection.close()


def test_the_file_is_read_strictly():
    good = policies.encode_boot_policy(holders_side.draft(5, ["0" * 64]))
    assert policies.encode_boot_policy(policies.decode_boot_policy(good)) == good
    for bad in (
        b"",
        b"{}",
        good.replace(b'"epoch": 5', b'"epoch": 64'),
        good.replace(b'"version": 1', b'"version": 2'),
        good.replace(b'"epoch"', b'"more": 1, "epoch"'),
        good.replace(b"0" * 64, b"0" * 63),
        good + b" " * policies.MAX_POLICY_FILE_BYTES,
    ):
        with pytest.raises(Invalid, match="boot_policy"):
            policies.decode_boot_policy(bad)
