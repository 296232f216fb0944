"""Keys live in the TPM: a changed byte, another TPM, another boot state open nothing; the device key cannot leave."""

import hashlib

import msgspec
import pytest
import tpm2_pytss as tss
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.contracts.vault import (
    Describe,
    FinishProvisioning,
    OpenDatabase,
    OpenShare,
    ProveDevice,
    UnwrapDocumentKey,
    WrapDocumentKey,
)
from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.formats.tunnel_control import proof_bytes
from appliance.vault import files
from appliance.vault.keys import KeyFile
from appliance.vault.state_file import decode_file
from appliance.vault.tpm_connection import STORAGE_ROOT
from appliance.vault.tpm_nv import ERASURE_INDEXES
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import DOCUMENT, PROVISION


async def test_keys_survive_a_start_and_a_repeated_provision(bench):
    async with bench.open() as vault:
        with pytest.raises(Unavailable, match="unprovisioned"):
            await vault.ask(Describe())
        made = await vault.ask(PROVISION)
        database = (await vault.ask(OpenDatabase())).key
        again = await vault.ask(PROVISION)
        assert (again.box, again.device_key) == (made.box, made.device_key)
        assert again.claim_code != made.claim_code
    async with bench.open() as vault:
        assert (await vault.ask(OpenDatabase())).key == database
        assert (await vault.ask(PROVISION)).device_key == made.device_key


async def test_finishing_closes_enrolment_and_starts_the_box(bench):
    async with bench.open() as vault:
        await vault.ask(PROVISION)
        mark = bench.folder / "provisioned"
        assert not mark.exists()
        await vault.ask(FinishProvisioning())
        await vault.ask(FinishProvisioning())
        assert mark.stat().st_mode & 0o777 == 0o644
        assert {path.stat().st_mode & 0o777 for path in bench.folder.iterdir() if path != mark} == {0o600}
        with pytest.raises(Refused, match="provisioned"):
            await vault.ask(PROVISION)
        assert bench.audit.actions == ["box_provisioned"]
        mark.unlink()
    async with bench.open():
        assert mark.exists()


async def test_describe_fills_in_the_box(bench):
    async with bench.open() as vault:
        made = await vault.ask(PROVISION)
        box = await vault.ask(Describe())
        assert box.page_host == f"praxis-{made.box[:8]}.localhost"
        assert (box.provisioned, box.claimed) == (False, False)
        with pytest.raises(Invalid, match="host"):
            await vault.ask(msgspec.structs.replace(PROVISION, page_host="Praxis_{box}/"))


async def test_proof_verifies_and_binds_portal_nonce_and_certificate(bench):
    async with bench.open() as vault:
        made = await vault.ask(PROVISION)
        nonce, certificate = bytes(range(32)), b"c" * 32
        proof = await vault.ask(ProveDevice(nonce=nonce, portal_certificate_sha256=certificate))
        key = load_der_public_key(made.device_key)
        box = bytes.fromhex(made.box)
        signed = b"praxissafe prove device 1\0" + box
        signed += hashlib.sha256(PROVISION.portal_name.encode()).digest() + nonce + certificate
        assert signed == proof_bytes(box, PROVISION.portal_name, nonce, certificate)
        key.verify(proof.signature, signed, ec.ECDSA(SHA256()))
        with pytest.raises(InvalidSignature):
            key.verify(proof.signature, signed[:-1] + b"d", ec.ECDSA(SHA256()))


async def test_device_key_cannot_be_exported(bench):
    async with bench.open() as vault:
        await vault.ask(PROVISION)
    file = msgspec.json.decode((bench.folder / "keys").read_bytes(), type=KeyFile)
    public, _ = tss.TPM2B_PUBLIC.unmarshal(file.device.public)
    attributes = public.publicArea.objectAttributes
    wanted = tss.TPMA_OBJECT
    for attribute in (wanted.FIXEDTPM, wanted.FIXEDPARENT, wanted.SENSITIVEDATAORIGIN, wanted.SIGN_ENCRYPT):
        assert attributes & attribute
    assert not attributes & (wanted.RESTRICTED | wanted.DECRYPT)
    private, _ = tss.TPM2B_PRIVATE.unmarshal(file.device.private)
    with tss.ESAPI(bench.tcti) as esys:
        root = esys.tr_from_tpmpublic(STORAGE_ROOT)
        device = esys.load(root, private, public)
        with pytest.raises(tss.TSS2_Exception):  # not without the authorisation that the root key gives
            esys.sign(
                device,
                tss.TPM2B_DIGEST(bytes(32)),
                tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL),
                tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL),
            )
        with pytest.raises(tss.TSS2_Exception):
            esys.duplicate(
                device, tss.ESYS_TR.NULL, tss.TPM2B_DATA(), tss.TPMT_SYM_DEF_OBJECT(algorithm=tss.TPM2_ALG.NULL)
            )
        esys.flush_context(device)


async def test_erasure_key_is_not_readable_by_the_owner_of_the_tpm(bench):
    async with bench.open() as vault:
        await vault.ask(PROVISION)
    with tss.ESAPI(bench.tcti) as esys:
        for slot in ERASURE_INDEXES:
            index = esys.tr_from_tpmpublic(slot)
            for authorised_by in (index, tss.ESYS_TR.OWNER):
                with pytest.raises(tss.TSS2_Exception):
                    esys.nv_read(index, 32, auth_handle=authorised_by)


async def test_state_of_another_tpm_does_not_open(bench, tmp_path):
    async with bench.open() as vault:
        await vault.claimed()
    with software_tpm(tmp_path / "other") as other:
        with pytest.raises(Tampered, match="other_tpm"):
            async with bench.open(tcti=other):
                pass
        # A thief who also writes the other TPM's name into the file gets no further.
        file = msgspec.json.decode((bench.folder / "keys").read_bytes(), type=KeyFile)
        with tss.ESAPI(other) as esys:
            name = bytes(esys.tr_get_name(esys.tr_from_tpmpublic(STORAGE_ROOT)))
        stolen = msgspec.structs.replace(file, storage_root=name)
        (bench.folder / "keys").write_bytes(msgspec.json.encode(stolen))
        with pytest.raises(Tampered, match="tpm_object"):
            async with bench.open(tcti=other):
                pass


async def test_without_the_erasure_key_shares_and_documents_are_noise(bench):
    async with bench.open() as vault:
        await vault.make_share(await vault.claimed())
    with tss.ESAPI(bench.tcti) as esys:
        for slot in ERASURE_INDEXES:
            esys.nv_undefine_space(esys.tr_from_tpmpublic(slot), auth_handle=tss.ESYS_TR.PLATFORM)
    with pytest.raises(Tampered, match="erasure_key"):
        async with bench.open():
            pass


async def test_state_file_with_one_changed_byte_is_refused(bench):
    async with bench.open() as vault:
        await vault.make_share(await vault.claimed())
        keys = vault.vault.keys.keys
        kept, last = decode_file((bench.folder / "state").read_bytes(), keys)
    good = (bench.folder / "state").read_bytes()
    for place in {*range(60), *range(60, len(good), 97), len(good) - 1}:
        refuses_state(keys, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :], last)
    for torn in (b"", good[:10], good[:-1]):
        refuses_state(keys, torn, last)
    assert decode_file(good + b"\0", keys) == (kept, last)


def refuses_state(keys, data, last):
    """Nothing opens, or what does lacks the last change, as a power cut would leave it: then the count decides."""
    try:
        _, position = decode_file(data, keys)
    except Tampered:
        return
    assert position.sequence < last.sequence


@pytest.mark.parametrize("lost", ["state", "keys"])
async def test_a_lost_file_does_not_make_a_fresh_box(bench, lost):
    async with bench.open() as vault:
        await vault.claimed()
    (bench.folder / lost).unlink()
    with pytest.raises(Tampered):
        async with bench.open():
            pass


async def test_a_torn_write_loses_nothing(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
    (bench.folder / "state.new").write_bytes((bench.folder / "state").read_bytes()[:100])
    async with bench.open() as vault:
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).r == share.r


async def test_a_full_disk_is_said_and_changes_nothing(bench, monkeypatch):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        before, keys = vault.vault.state, vault.vault.keys.keys

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files.os, "write", full)
        with pytest.raises(Unavailable, match="storage"):
            await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        monkeypatch.undo()
        assert decode_file((bench.folder / "state").read_bytes(), keys)[0].shares == before.shares
        assert (await vault.ask(OpenShare(proof=share.proof, pin=share.pin))).tries_left == 5


async def test_document_keys_open_for_their_document_only(bench):
    async with bench.open() as vault:
        await vault.ask(PROVISION)
        made = await vault.ask(WrapDocumentKey(document=DOCUMENT, key=b"k" * 32))
        wrapped, of = made.wrapped, {"generation": made.generation}
        assert len(wrapped) == 60
        assert (await vault.ask(UnwrapDocumentKey(document=DOCUMENT, wrapped=wrapped, **of))).key == b"k" * 32
        for document, bytes_ in (("e" * 32, wrapped), (DOCUMENT, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))):
            with pytest.raises(Tampered, match="document_key"):
                await vault.ask(UnwrapDocumentKey(document=document, wrapped=bytes_, **of))


async def test_what_a_killed_vault_left_in_the_tpm_is_dropped(bench):
    """Three transient places are all a TPM has; a vault that died with its key loaded must not use them up."""
    async with bench.open() as vault:
        await vault.ask(PROVISION)
    for _ in range(4):
        async with bench.open() as vault:
            await vault.ask(ProveDevice(nonce=bytes(32), portal_certificate_sha256=bytes(32)))
            vault.vault.tpm._esys = None  # gone without a word


async def test_nothing_in_the_clear_on_disk(bench):
    async with bench.open() as vault:
        session = await vault.claimed()
        share = await vault.make_share(session)
        await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        database = (await vault.ask(OpenDatabase())).key
    on_disk = b"".join(path.read_bytes() for path in bench.folder.iterdir())
    for secret in (share.r, share.pin.encode(), database, b"Ada", b"Praxis Nord", b"040 1234"):
        assert secret not in on_disk
