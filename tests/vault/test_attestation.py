"""A real TPM (swtpm, with a maker's certificate) proves itself through vault to a real register; clones do not."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import tpm2_pytss as tss
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.contracts.vault import FinishProvisioning, IdentifyTpm, ProveTpm
from appliance.core.errors import NotFound, PraxisError, Refused, Tampered
from appliance.formats.attestation import QUOTED_PCRS, Evidence, Identity, qualifying_data, read_attestation_key
from appliance.formats.device_record import DeviceRecord, make_record, sign_record
from appliance.formats.endorsement import TEMPLATES, EndorsementKey, read_endorsement
from appliance.formats.registration import Application, Asked, Proof
from appliance.vault.tpm import Blob
from appliance.vault.tpm_connection import Connection
from provisioning.portal.counts import Counts
from provisioning.portal.credential import make_credential
from provisioning.portal.makers import Makers
from provisioning.portal.registration import Registration
from provisioning.portal.registry import Registry
from tests.portal.simulated_box import STATION
from tests.simulators.bus_tap import tapped
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.simulators.tpm_maker import HandMaker, manufacture
from tests.vault.bench import PROVISION, Bench, Running


@dataclass(frozen=True)
class Made:
    """Two TPMs of one maker, as their maker leaves them."""

    folders: tuple[Path, Path]
    makers: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("maker")
    first, second = folder / "first", folder / "second"
    makers = manufacture(first, folder / "makers")
    manufacture(second, folder / "makers")
    return Made((first, second), makers)


@pytest.fixture
def tcti(tmp_path: Path, made: Made) -> Iterator[str]:
    """The first TPM, in a copy."""
    shutil.copytree(made.folders[0], tmp_path / "tpm")
    with software_tpm(tmp_path / "tpm") as tcti:
        yield tcti


@pytest.fixture
def portal(tmp_path: Path, made: Made) -> Registration:
    return registration(tmp_path, made.makers)


def registration(folder: Path, makers: Path) -> Registration:
    registry = Registry(folder / "registry", PROVISION.portal_name, frozenset({bytes(STATION.verify_key)}))
    return Registration(
        registry, Makers.read(makers), PROVISION.portal_name, frozenset(), Counts(), lambda: 1_900_000_000.0
    )


def application(identity: Identity, box: str, device_key: bytes) -> Application:
    record = make_record(
        box=bytes.fromhex(box),
        device_key=device_key,
        endorsement=read_endorsement(identity.endorsement_certificate).fingerprint,
        host_name=f"praxis-{box[:8]}.localhost",
        portal_name=PROVISION.portal_name,
        issued_at=1_900_000_000,
    )
    return Application(record=sign_record(record, STATION), identity=identity)


async def applied(running: Running) -> Application:
    """Provision, and give what the station lays at the portal."""
    new = await running.ask(PROVISION)
    identity = Identity(**msgspec.structs.asdict(await running.ask(IdentifyTpm())))
    return application(identity, new.box, new.device_key)


async def answered(running: Running, asked: Asked | None) -> Proof:
    assert asked is not None
    evidence = await running.ask(ProveTpm(**msgspec.structs.asdict(asked.question)))
    return Proof(challenge=asked.challenge, evidence=Evidence(**msgspec.structs.asdict(evidence)))


async def test_a_box_with_a_makers_tpm_is_registered(bench: Bench, portal: Registration) -> None:
    async with bench.open() as running:
        applying = await applied(running)
        portal.prove(await answered(running, portal.apply(applying)))
        assert portal.apply(applying) is None
        assert read_endorsement(applying.identity.endorsement_certificate).maker == "swtpm"
        await running.ask(FinishProvisioning())
        for call in (IdentifyTpm(), ProveTpm(credential=b"c", encrypted_seed=b"s", nonce=bytes(32))):
            with pytest.raises(Refused, match="provisioned"):
                await running.ask(call)


async def test_an_ecc_certificate_comes_first_and_its_chain_from_the_tpm(bench: Bench, tmp_path: Path) -> None:
    """And what a maker wrote behind its certificate is cut off."""
    maker = HandMaker()
    (tmp_path / "roots.pem").write_bytes(maker.root.public_bytes(Encoding.PEM))
    certificate = maker.fit_out(bench.tcti, chain=maker.intermediate.public_bytes(Encoding.DER))
    portal = registration(tmp_path, tmp_path / "roots.pem")
    async with bench.open() as running:
        applying = await applied(running)
        assert applying.identity.endorsement_certificate == certificate
        assert applying.identity.endorsement_chain == maker.intermediate.public_bytes(Encoding.DER)
        portal.prove(await answered(running, portal.apply(applying)))


async def test_a_tpm_without_a_makers_certificate_says_so(bench: Bench, tmp_path: Path) -> None:
    with software_tpm(tmp_path / "nobodys") as tcti:
        bench.release = booted(tmp_path / "boot", tcti)
        async with bench.open(tcti=tcti) as running:
            await running.ask(PROVISION)
            with pytest.raises(NotFound, match="endorsement_certificate"):
                await running.ask(IdentifyTpm())


async def test_a_question_for_another_tpm_or_another_key_is_refused_and_the_next_one_answered(
    bench: Bench, portal: Registration
) -> None:
    async with bench.open() as running:
        applying = await applied(running)
        endorsed = read_endorsement(applying.identity.endorsement_certificate).key
        name = read_attestation_key(applying.identity.attestation_key).name
        other_key = b"\0\x0b" + bytes(32)
        wrong = [
            make_credential(ec.generate_private_key(ec.SECP256R1()).public_key(), name, bytes(32), bytes(32)),
            make_credential(endorsed, other_key, bytes(32), bytes(32)),
            make_credential(endorsed, name, bytes(16), bytes(32)),
        ]
        for made in wrong:
            with pytest.raises(Tampered, match="credential"):
                await running.ask(ProveTpm(credential=made.blob, encrypted_seed=made.encrypted_seed, nonce=bytes(32)))
        portal.prove(await answered(running, portal.apply(applying)))


async def test_the_secret_crosses_the_bus_encrypted(bench: Bench, portal: Registration, tmp_path: Path) -> None:
    with tapped(bench.tcti, tmp_path) as (tcti, tap):
        async with bench.open(tcti=tcti) as running:
            proof = await answered(running, portal.apply(await applied(running)))
            portal.prove(proof)
    assert tap.holds(proof.evidence.quote_signature[6:38])  # the tap works: a signature is no secret
    assert not tap.holds(proof.evidence.secret)


# --- clones -------------------------------------------------------------------------------------------------------


async def test_a_cloned_disk_in_another_tpm_is_refused_by_vault(bench: Bench, made: Made, tmp_path: Path) -> None:
    async with bench.open() as running:
        await running.ask(PROVISION)
    shutil.copytree(made.folders[1], tmp_path / "other-tpm")
    with software_tpm(tmp_path / "other-tpm") as tcti:
        bench.release = booted(tmp_path / "boot", tcti)
        async with bench.start(tcti=tcti) as running:
            assert running.vault.shut_because == "other_tpm"
            for call in (IdentifyTpm(), ProveTpm(credential=b"c", encrypted_seed=b"s", nonce=bytes(32))):
                with pytest.raises(PraxisError, match="shut"):
                    await running.ask(call)


async def test_a_cloned_disk_in_another_tpm_is_refused_by_the_portal(
    bench: Bench, made: Made, portal: Registration, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its thief has every byte of the disk and another genuine TPM: the first key stays where it was made."""
    async with bench.open() as running:
        original = await applied(running)
        portal.prove(await answered(running, portal.apply(original)))
        box = running.vault.state.box.box
    blob = json.loads((bench.folder / "keys").read_bytes())["device"]
    shutil.copytree(made.folders[1], tmp_path / "other-tpm")
    thief = tmp_path / "thief"
    thief.mkdir()
    with software_tpm(tmp_path / "other-tpm") as tcti:
        bench.release = booted(tmp_path / "boot", tcti)
        async with bench.open(folder=thief, tcti=tcti) as running:
            new = await running.ask(PROVISION)
            other = Identity(**msgspec.structs.asdict(await running.ask(IdentifyTpm())))
            with pytest.raises(Tampered, match="tpm_object"):  # the key itself does not load there
                await running.vault.tpm.load_device(msgspec.convert(blob, Blob), b"")
            # the old box with the other TPM's own key
            with pytest.raises(Refused, match="box_taken"):
                portal.apply(application(other, box, new.device_key))
            # another box with the old key, as if it were in the other TPM
            stolen = msgspec.structs.replace(other, device_key=original.identity.device_key)
            with pytest.raises(Refused, match="device_key_taken"):
                portal.apply(application(stolen, new.box, _der(original.record)))
    assert capsys.readouterr().err.count("<1>portal alarm=") == 2


async def test_a_known_key_laid_before_a_portal_that_has_lost_its_register_is_still_not_proven(
    bench: Bench, made: Made, portal: Registration, tmp_path: Path
) -> None:
    """No register is needed to see that the other TPM does not hold the key: it cannot certify it."""
    async with bench.open() as running:
        original = await applied(running)
    shutil.copytree(made.folders[1], tmp_path / "other-tpm")
    thief = tmp_path / "thief"
    thief.mkdir()
    with software_tpm(tmp_path / "other-tpm") as tcti:
        bench.release = booted(tmp_path / "boot", tcti)
        async with bench.open(folder=thief, tcti=tcti) as running:
            new = await running.ask(PROVISION)
            other = Identity(**msgspec.structs.asdict(await running.ask(IdentifyTpm())))
            stolen = msgspec.structs.replace(other, device_key=original.identity.device_key)
            asked = portal.apply(application(stolen, new.box, _der(original.record)))
            with pytest.raises(Tampered, match="attestation"):
                portal.prove(await answered(running, asked))


async def test_a_tpm_is_registered_once_whatever_box_is_made_of_it(
    bench: Bench, portal: Registration, tmp_path: Path
) -> None:
    """The same chip, its disk made anew: the portal knows it again, and so does a cleared one."""
    async with bench.open() as running:
        first = await applied(running)
        portal.prove(await answered(running, portal.apply(first)))
    with tss.ESAPI(bench.tcti) as esys:
        esys.clear(tss.ESYS_TR.LOCKOUT)
    anew = tmp_path / "anew"
    anew.mkdir()
    async with bench.open(folder=anew) as running:
        second = await applied(running)
        assert second.record.device_key != first.record.device_key
        assert second.identity.attestation_key == first.identity.attestation_key
        with pytest.raises(Refused, match="endorsement_taken"):
            portal.apply(second)


# --- second opinions ----------------------------------------------------------------------------------------------


async def test_tpm2_tools_find_the_same_endorsement_key_and_the_quote_in_order(
    bench: Bench, portal: Registration, tmp_path: Path
) -> None:
    async with bench.open() as running:
        applying = await applied(running)
        asked = portal.apply(applying)
        evidence = (await answered(running, asked)).evidence
    assert asked is not None

    def tool(*words: str) -> None:
        environment = {**os.environ, "TPM2TOOLS_TCTI": bench.tcti}
        subprocess.run(words, check=True, capture_output=True, cwd=tmp_path, env=environment)

    endorsed = read_endorsement(applying.identity.endorsement_certificate).key
    tool("tpm2_createek", "--key-algorithm=rsa", "--ek-context=ek.ctx", "--public=ek.der", "--format=der")
    assert (tmp_path / "ek.der").read_bytes() == _info(endorsed)
    key = read_attestation_key(applying.identity.attestation_key)
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.point)
    (tmp_path / "ak.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "quote").write_bytes(evidence.quote)
    (tmp_path / "signature").write_bytes(evidence.quote_signature)
    selection = "sha256:" + ",".join(map(str, QUOTED_PCRS))
    tool("tpm2_pcrread", selection, "--output=pcrs")
    assert (tmp_path / "pcrs").read_bytes() == b"".join(evidence.pcrs)
    checked = ("tpm2_checkquote", "--public=ak.pem", "--message=quote", "--signature=signature", "--pcr=pcrs")
    checked = (*checked, f"--pcr-list={selection}", "--hash-algorithm=sha256")
    qualifying = qualifying_data(applying.record.box_bytes, PROVISION.portal_name, asked.question.nonce)
    tool(*checked, f"--qualification={qualifying.hex()}")
    with pytest.raises(subprocess.CalledProcessError):
        tool(*checked, f"--qualification={bytes(32).hex()}")


async def test_what_the_tpms_own_make_credential_makes_is_opened_too(bench: Bench) -> None:
    async with bench.open() as running:
        applying = await applied(running)
        name = read_attestation_key(applying.identity.attestation_key).name
        secret = secrets.token_bytes(32)

        def make(connection: Connection) -> ProveTpm:
            esys = connection.esys
            area, _ = tss.TPMT_PUBLIC.unmarshal(TEMPLATES[0x01C00002])
            handle, *_ = esys.create_primary(None, tss.TPM2B_PUBLIC(publicArea=area), tss.ESYS_TR.ENDORSEMENT)
            blob, encrypted = esys.make_credential(handle, secret, name)
            esys.flush_context(handle)
            return ProveTpm(credential=bytes(blob), encrypted_seed=bytes(encrypted), nonce=bytes(32))

        question = make(running.vault.tpm._connection)
        assert (await running.ask(question)).secret == secret


def _info(key: EndorsementKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _der(record: DeviceRecord) -> bytes:
    return _info(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), record.device_point))
