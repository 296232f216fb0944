"""What box, station and portal say to each other to prove a TPM, and the judgement of it. Pure.

A device key counts if it lives in the TPM that holds the endorsement key: the attestation key is proven to be there
by activating a credential (provisioning/portal/credential.py), and what it states of itself, of the device key and
of the boot, is judged here. Layout and reasons: docs/formats/attestation.md. Sources: TCG TPM 2.0 Library part 1,
sections 24 (credential activation) and 31 (attestation).
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats import tpm_structures as tpm
from appliance.formats.endorsement import MAX_CERTIFICATE_BYTES, MAX_CHAIN_BYTES

CONTEXT = b"praxissafe attest 1\0"
#: Secure Boot, the image, what was added to it (docs/formats/boot-policy.md).
QUOTED_PCRS = (7, 11, 12)
PCR_IMAGE, PCR_PARAMETERS = 11, 12
NEVER_EXTENDED = bytes(tpm.DIGEST_BYTES)

DEVICE_ATTRIBUTES = (
    tpm.FIXED_TPM | tpm.FIXED_PARENT | tpm.SENSITIVE_DATA_ORIGIN | tpm.USER_WITH_AUTH | tpm.NO_DA | tpm.SIGN
)
ATTESTATION_ATTRIBUTES = DEVICE_ATTRIBUTES | tpm.RESTRICTED
#: The attestation key is made from this each time it is needed: the same key from the same endorsement seed.
ATTESTATION_TEMPLATE = tpm.SigningKey(ATTESTATION_ATTRIBUTES, b"", b"", b"").encode()

Structure = Annotated[bytes, msgspec.Meta(min_length=1, max_length=tpm.MAX_STRUCTURE_BYTES)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
MAX_CREDENTIAL_BYTES = 256
MAX_ENCRYPTED_SEED_BYTES = 256


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who the TPM says it is; nothing of it is proven. Keys are TPMT_PUBLIC, byte strings are base64 in JSON."""

    endorsement_certificate: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_CERTIFICATE_BYTES)]
    endorsement_chain: Annotated[bytes, msgspec.Meta(max_length=MAX_CHAIN_BYTES)] = b""
    attestation_key: Structure
    device_key: Structure


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the portal asks: only the TPM with both keys gets the secret out of `credential` and `encrypted_seed`."""

    credential: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_CREDENTIAL_BYTES)]
    encrypted_seed: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_ENCRYPTED_SEED_BYTES)]
    nonce: Bytes32


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the TPM answers: TPMS_ATTEST and TPMT_SIGNATURE. `pcrs` are the values of QUOTED_PCRS, in order."""

    secret: Bytes32
    certification: Structure
    certification_signature: Structure
    quote: Structure
    quote_signature: Structure
    pcrs: Annotated[list[Bytes32], msgspec.Meta(min_length=len(QUOTED_PCRS), max_length=len(QUOTED_PCRS))]


def qualifying_data(box: bytes, portal_name: str, nonce: bytes) -> bytes:
    """Give what both statements are bound to: this box, this portal, this nonce.

    So a stranger's question, laid to the box as its portal's, gets statements that are worth nothing elsewhere.
    """
    return hashlib.sha256(CONTEXT + box + hashlib.sha256(portal_name.encode()).digest() + nonce).digest()


def read_attestation_key(data: bytes) -> tpm.SigningKey:
    """Read the attestation key; Refused("tpm_key") unless it is one that signs only what its TPM says."""
    return _checked(data, ATTESTATION_ATTRIBUTES)


def read_device_key(data: bytes) -> tpm.SigningKey:
    """Read the device key; Refused("tpm_key") unless it was made in a TPM and cannot leave it."""
    return _checked(data, DEVICE_ATTRIBUTES)


def check_evidence(
    evidence: Evidence, *, attestation_key: tpm.SigningKey, device_key: tpm.SigningKey, qualifying: bytes
) -> None:
    """Raise unless the attestation key states, for this question, that it has seen the device key and these PCRs.

    The secret is not looked at: who asked knows it. Invalid("tpm_structure"), Tampered("attestation"),
    Refused("quoted_parameters") for an image that something was added to, Refused("quoted_nothing") if no image
    was measured.
    """
    key = _public_key(attestation_key)
    certification = _signed(key, evidence.certification, evidence.certification_signature)
    quote = _signed(key, evidence.quote, evidence.quote_signature)
    certified, quoted = certification.statement, quote.statement
    if not (
        isinstance(certified, tpm.Certified)
        and isinstance(quoted, tpm.Quoted)
        and certification.qualifying == quote.qualifying == qualifying
        and certified.name == device_key.name
        and quoted.pcrs == QUOTED_PCRS
        and quoted.digest == hashlib.sha256(b"".join(evidence.pcrs)).digest()
        and certification.signer == quote.signer
        and certification.firmware == quote.firmware
        and _boot(certification) == _boot(quote)
    ):
        raise Tampered("attestation")
    values = dict(zip(QUOTED_PCRS, evidence.pcrs, strict=True))
    if values[PCR_PARAMETERS] != NEVER_EXTENDED:
        raise Refused("quoted_parameters")
    if values[PCR_IMAGE] == NEVER_EXTENDED:
        raise Refused("quoted_nothing")


def image_of(evidence: Evidence) -> bytes:
    """Give PCR 11 as quoted."""
    return evidence.pcrs[QUOTED_PCRS.index(PCR_IMAGE)]


def _boot(attestation: tpm.Attestation) -> tuple[int, int]:
    return attestation.clock.reset_count, attestation.clock.restart_count


def _signed(key: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> tpm.Attestation:
    der = tpm.read_signature(signature)
    try:
        key.verify(der, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise Tampered("attestation") from error
    return tpm.read_attestation(data)


def _checked(data: bytes, attributes: int) -> tpm.SigningKey:
    key = tpm.read_signing_key(data)
    if key.attributes != attributes or key.policy:
        raise Refused("tpm_key")
    _public_key(key)
    return key


def _public_key(key: tpm.SigningKey) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.point)
    except ValueError as error:
        raise Invalid("tpm_structure") from error
