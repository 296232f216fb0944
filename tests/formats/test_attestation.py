"""What a TPM says, read strictly; credentials against tpm2-tools; makers' certificates against what may be wrong."""

from __future__ import annotations

import datetime
import hashlib
import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tpm2_pytss as tss
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.formats import attestation, endorsement
from appliance.formats import tpm_structures as tpm
from provisioning.portal.credential import make_credential
from provisioning.portal.makers import Makers
from tests.simulators.attesting_tpm import MAKER, AttestingTpm, area
from tests.simulators.tpm_maker import EK_CERTIFICATE, HandMaker

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DIGESTS = st.binary(min_size=32, max_size=32)
NAMES = st.binary(min_size=34, max_size=34)
KEYS = st.builds(
    tpm.SigningKey,
    st.integers(0, 2**32 - 1),
    st.sampled_from([b"", bytes(32)]),
    st.binary(min_size=1, max_size=32),
    st.binary(min_size=1, max_size=32),
)
STATEMENTS = st.one_of(
    st.builds(tpm.Certified, NAMES, NAMES),
    st.builds(tpm.Quoted, st.sets(st.integers(0, 23)).map(lambda pcrs: tuple(sorted(pcrs))), DIGESTS),
)
CLOCKS = st.builds(
    tpm.Clock, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.booleans()
)
ATTESTATIONS = st.builds(
    tpm.Attestation, NAMES, st.binary(max_size=32), CLOCKS, st.integers(0, 2**64 - 1), STATEMENTS
)


@given(KEYS)
def test_a_key_comes_back_and_the_tss_reads_the_same(key: tpm.SigningKey) -> None:
    assert tpm.read_signing_key(key.encode()) == key
    public, used = tss.TPMT_PUBLIC.unmarshal(key.encode())
    assert used == len(key.encode())
    assert int(public.objectAttributes) == key.attributes
    assert bytes(public.unique.ecc.x) == key.x
    assert bytes(public.get_name()) == key.name


@given(ATTESTATIONS)
def test_a_statement_comes_back_and_the_tss_reads_the_same(statement: tpm.Attestation) -> None:
    data = statement.encode()
    assert tpm.read_attestation(data) == statement
    read, used = tss.TPMS_ATTEST.unmarshal(data)
    assert used == len(data)
    assert bytes(read.extraData) == statement.qualifying
    assert int(read.clockInfo.resetCount) == statement.clock.reset_count
    if isinstance(statement.statement, tpm.Certified):
        assert bytes(read.attested.certify.name) == statement.statement.name
    else:
        assert bytes(read.attested.quote.pcrDigest) == statement.statement.digest


@pytest.mark.parametrize("read", [tpm.read_signing_key, tpm.read_attestation, tpm.read_signature])
def test_cut_and_lengthened_structures_are_invalid(read: Any) -> None:
    chip = AttestingTpm()
    statement, signed = chip.state(tpm.Certified(bytes(34), bytes(34)), bytes(32))
    whole = {
        tpm.read_signing_key: chip.device_area.encode(),
        tpm.read_attestation: statement,
        tpm.read_signature: signed,
    }[read]
    read(whole)
    for data in (*(whole[:end] for end in range(len(whole))), whole + b"\0", whole * 20):
        with pytest.raises(Invalid, match="tpm_structure"):
            read(data)


def test_what_a_tpm_did_not_make_is_no_statement() -> None:
    """Only what begins with TPM_GENERATED_VALUE comes from the TPM itself."""
    data, _ = AttestingTpm().state(tpm.Certified(bytes(34), bytes(34)), bytes(32))
    with pytest.raises(Invalid):
        tpm.read_attestation(b"\0" + data[1:])


@pytest.mark.parametrize("point", [(bytes(32), bytes(32)), (b"\x01", b"\x01")])
def test_a_point_beside_the_curve_is_no_key(point: tuple[bytes, bytes]) -> None:
    with pytest.raises(Invalid):
        attestation.read_device_key(tpm.SigningKey(attestation.DEVICE_ATTRIBUTES, b"", *point).encode())


def test_a_key_that_a_policy_opens_is_refused() -> None:
    key = area(ec.generate_private_key(ec.SECP256R1()).public_key(), attestation.DEVICE_ATTRIBUTES)
    with pytest.raises(Refused, match="tpm_key"):
        attestation.read_device_key(tpm.SigningKey(key.attributes, bytes(32), key.x, key.y).encode())


def test_the_templates_are_those_of_the_profile() -> None:
    """As the TSS makes them by hand: L-1 (RSA 2048) and L-2 (ECC P-256)."""
    for kind, name in ((0x01C00002, "rsa2048:aes128cfb"), (0x01C0000A, "ecc256:aes128cfb")):
        attributes = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt"
        template = tss.TPM2B_PUBLIC.parse(name, objectAttributes=tss.TPMA_OBJECT.parse(attributes)).publicArea
        template.authPolicy = endorsement.POLICY
        read, used = tss.TPMT_PUBLIC.unmarshal(endorsement.TEMPLATES[kind])
        assert used == len(endorsement.TEMPLATES[kind])
        if kind == 0x01C00002:
            assert bytes(read.unique.rsa) == bytes(256)
            template.unique.rsa = bytes(256)
        else:
            assert bytes(read.unique.ecc.x) == bytes(read.unique.ecc.y) == bytes(32)
            template.unique.ecc.x = template.unique.ecc.y = bytes(32)
        assert template.marshal() == endorsement.TEMPLATES[kind]


# --- credentials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_credential_opens_in_the_tpm_of_its_keys_and_in_no_other(kind: str) -> None:
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    chip, other = AttestingTpm(endorsement=key), AttestingTpm(endorsement=key)
    secret = secrets.token_bytes(32)
    made = make_credential(key.public_key(), chip.attestation_area.name, secret, secrets.token_bytes(32))
    question = attestation.Question(credential=made.blob, encrypted_seed=made.encrypted_seed, nonce=bytes(32))
    assert chip.activate(question) == secret
    with pytest.raises(PraxisError, match="credential"):
        other.activate(question)
    with pytest.raises(PraxisError, match="credential"):
        AttestingTpm().activate(question)


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_credential_of_tpm2_tools_opens_as_ours_does(tmp_path: Path, kind: str) -> None:
    """tpm2_makecredential(1) without a TPM: the same layout, the same derivations."""
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    chip, secret = AttestingTpm(endorsement=key), secrets.token_bytes(32)
    (tmp_path / "secret").write_bytes(secret)
    (tmp_path / "key.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    subprocess.run(
        [
            *(
                "tpm2_makecredential",
                "--tcti=none",
                f"--encryption-key={tmp_path}/key.pem",
                f"--key-algorithm={kind}",
            ),
            *(f"--secret={tmp_path}/secret", f"--name={chip.attestation_area.name.hex()}"),
            f"--credential-blob={tmp_path}/blob",
        ],
        check=True,
        capture_output=True,
    )
    made = (tmp_path / "blob").read_bytes()
    assert made[:8] == bytes.fromhex("badcc0de00000001")  # the tool's own head
    size = int.from_bytes(made[8:10], "big")
    blob, rest = made[10 : 10 + size], made[10 + size :]
    question = attestation.Question(credential=blob, encrypted_seed=rest[2:], nonce=bytes(32))
    assert chip.activate(question) == secret


# --- makers -------------------------------------------------------------------------------------------------------


def check(certificate: bytes, maker: HandMaker = MAKER, chain: bytes = b"", now: datetime.datetime = NOW) -> None:
    read = endorsement.read_endorsement(certificate)
    Makers([maker.root, maker.intermediate]).check(read, endorsement.read_chain(chain), now)


def key_of(kind: str) -> Any:
    return (
        rsa.generate_private_key(65537, 2048).public_key()
        if kind == "rsa"
        else ec.generate_private_key(ec.SECP256R1()).public_key()
    )


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_certificate_of_a_known_maker_is_taken(kind: str) -> None:
    check(MAKER.sign(key_of(kind)))
    check(MAKER.sign(key_of(kind), purposes=()))


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
@pytest.mark.parametrize(
    "facts",
    [
        {"issuer_key": ec.generate_private_key(ec.SECP256R1())},
        {"not_after": NOW - datetime.timedelta(days=1)},
        {"not_before": NOW + datetime.timedelta(days=1)},
        {"purposes": [x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]},
        {"authority": True},
        {"takes_in": False},
        {"signs": True},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_a_certificate_that_is_wrong_in_one_place_is_refused(kind: str, facts: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="endorsement_certificate"):
        check(MAKER.sign(key_of(kind), **facts))


def test_an_authority_that_only_the_tpm_gives_leads_to_a_known_root_and_to_no_other() -> None:
    makers = Makers([MAKER.root])
    read = endorsement.read_endorsement(MAKER.sign(key_of("ecc")))
    chain = endorsement.read_chain(MAKER.intermediate.public_bytes(Encoding.DER))
    makers.check(read, chain, NOW)
    with pytest.raises(Refused):
        makers.check(read, [], NOW)
    stranger = HandMaker()
    for given_chain in ([stranger.intermediate], [stranger.intermediate, stranger.root]):
        with pytest.raises(Refused):
            makers.check(endorsement.read_endorsement(stranger.sign(key_of("ecc"))), given_chain, NOW)


@pytest.mark.parametrize(
    ("facts", "taken"),
    [({}, True), ({"authority": False}, False), ({"signs": False}, False), ({"length": 0}, True)],
    ids=str,
)
def test_only_an_authority_leads_to_a_maker(facts: dict[str, Any], taken: bool) -> None:
    maker = HandMaker()
    between = maker.authority(maker.name, maker.key.public_key(), f"{maker.name} Root", maker.root_key, **facts)
    read = endorsement.read_endorsement(maker.sign(key_of("ecc")))
    if taken:
        Makers([maker.root]).check(read, [between], NOW)
    else:
        with pytest.raises(Refused, match="endorsement_certificate"):
            Makers([maker.root]).check(read, [between], NOW)


def test_a_path_is_no_longer_than_its_authorities_allow() -> None:
    maker, middle = HandMaker(), ec.generate_private_key(ec.SECP256R1())
    read = endorsement.read_endorsement(maker.sign(key_of("ecc")))
    for length, taken in ((1, True), (0, False)):
        first = maker.authority("Middle", middle.public_key(), f"{maker.name} Root", maker.root_key, length=length)
        second = maker.authority(maker.name, maker.key.public_key(), "Middle", middle)
        if taken:
            Makers([maker.root]).check(read, [first, second], NOW)
        else:
            with pytest.raises(Refused):
                Makers([maker.root]).check(read, [first, second], NOW)


def test_an_endorsement_key_is_no_authority() -> None:
    """Who owns a chip cannot sign certificates for others with its key: it says that it is none."""
    owner = ec.generate_private_key(ec.SECP256R1())
    own = x509.load_der_x509_certificate(MAKER.sign(owner.public_key()))
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(own.subject)
        .public_key(key_of("ecc"))
        .serial_number(7)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .add_extension(own.extensions.get_extension_for_class(x509.KeyUsage).value, critical=True)
        .add_extension(x509.ExtendedKeyUsage([EK_CERTIFICATE]), critical=False)
        .sign(owner, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    with pytest.raises(Refused):
        check(forged, chain=own.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    "der",
    [b"", b"\x30\x82\xff\xff", b"a letter", MAKER.sign(ec.generate_private_key(ec.SECP384R1()).public_key())],
)
def test_what_is_no_certificate_of_our_kinds_is_invalid(der: bytes) -> None:
    with pytest.raises(Invalid, match="endorsement_certificate"):
        endorsement.read_endorsement(der)


def test_a_chain_is_read_to_its_last_byte() -> None:
    one = MAKER.intermediate.public_bytes(Encoding.DER)
    assert len(endorsement.read_chain(one * 2)) == 2
    for data in (one[:-1], one + b"\0", b"\xff" * 10, one * 7, bytes(20_000)):
        with pytest.raises(Invalid, match="endorsement_certificate"):
            endorsement.read_chain(data)


def test_a_maker_is_said_in_signs_that_cannot_hurt_a_terminal() -> None:
    read = endorsement.read_endorsement(MAKER.sign(key_of("ecc")))
    assert read.maker == "IFX SLB9672"
    assert (
        read.fingerprint
        == hashlib.sha256(read.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
    )
