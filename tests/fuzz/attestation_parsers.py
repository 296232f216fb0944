"""Fuzz targets for what a TPM, or whoever says to be one, sends to the portal: keys, statements, certificates, answers."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered
from appliance.formats import attestation, endorsement
from appliance.formats import tpm_structures as tpm
from appliance.formats.registration import Application, Proof
from provisioning.portal.makers import Makers
from tests.formats.test_device_record import signed
from tests.simulators.attesting_tpm import MAKER, AttestingTpm

CHIP = AttestingTpm()
MAKERS = Makers([MAKER.root, MAKER.intermediate])
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
QUALIFYING = bytes(range(32))


def tpm_key(data: bytes) -> None:
    """What is read is written to the same bytes again; what is judged a device key is no attestation key."""
    with contextlib.suppress(Invalid):
        assert tpm.read_signing_key(data).encode() == data
    judged = 0
    for judge in (attestation.read_device_key, attestation.read_attestation_key):
        with contextlib.suppress(Invalid, Refused):
            judge(data)
            judged += 1
    assert judged < 2


def tpm_statement(data: bytes) -> None:
    """What is read is written to the same bytes again."""
    with contextlib.suppress(Invalid):
        assert tpm.read_attestation(data).encode() == data


def tpm_signature(data: bytes) -> None:
    with contextlib.suppress(Invalid):
        assert len(tpm.read_signature(data)) <= 72


def endorsement_certificate(data: bytes) -> None:
    """A certificate, or a chain of them: whatever is read is said in harmless signs, and judged without a fall."""
    with contextlib.suppress(Invalid):
        endorsement.read_chain(data)
    try:
        read = endorsement.read_endorsement(data)
    except Invalid:
        return
    assert read.maker.isascii()
    assert read.maker.isprintable()
    with contextlib.suppress(Refused):
        MAKERS.check(read, [read.certificate], NOW)
        assert data == CHIP.certificate


def registration(data: bytes) -> None:
    """The bodies of the portal's two questions."""
    for kind in (Application, Proof):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            body = msgspec.json.decode(data, type=kind, strict=True)
            if isinstance(body, Proof):
                with contextlib.suppress(Invalid, Refused, Tampered):
                    attestation.check_evidence(
                        body.evidence,
                        attestation_key=CHIP.attestation_area,
                        device_key=CHIP.device_area,
                        qualifying=QUALIFYING,
                    )
            else:
                with contextlib.suppress(PraxisError):
                    attestation.read_device_key(body.identity.device_key)


def _proof() -> bytes:
    certification, certification_signature = CHIP.state(tpm.Certified(CHIP.device_area.name, bytes(34)), QUALIFYING)
    quote, quote_signature = CHIP.state(tpm.Quoted(attestation.QUOTED_PCRS, bytes(32)), QUALIFYING)
    evidence = attestation.Evidence(
        secret=bytes(32),
        certification=certification,
        certification_signature=certification_signature,
        quote=quote,
        quote_signature=quote_signature,
        pcrs=CHIP.pcrs,
    )
    return msgspec.json.encode(Proof(challenge="A" * 22, evidence=evidence))


def _application() -> bytes:
    return msgspec.json.encode(Application(record=signed(), identity=CHIP.identify()))


_CERTIFIED, _SIGNED = CHIP.state(tpm.Certified(bytes(34), bytes(34)), QUALIFYING)
_QUOTED, _ = CHIP.state(tpm.Quoted((7, 11, 12), bytes(32)), QUALIFYING)
SEEDS: dict[str, list[bytes]] = {
    "tpm_key": [CHIP.device_area.encode(), CHIP.attestation_area.encode()],
    "tpm_statement": [_CERTIFIED, _QUOTED],
    "tpm_signature": [_SIGNED],
    "endorsement": [CHIP.certificate, MAKER.intermediate.public_bytes(Encoding.DER) * 2],
    "registration": [_proof(), _application()],
}
TARGETS: dict[str, Callable[[bytes], None]] = {
    "tpm_key": tpm_key,
    "tpm_statement": tpm_statement,
    "tpm_signature": tpm_signature,
    "endorsement": endorsement_certificate,
    "registration": registration,
}
