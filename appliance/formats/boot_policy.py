"""Which boot may open the box's keys: policy digests as the TPM computes them, and the file of signatures. Pure.

The file is docs/formats/boot-policy.md: for each value of PCR 11 that a release may have, the signatures of two
release key holders. What is signed follows from the value and the release's security epoch (`approved_policy`), so
nothing in the file is believed. Sources: TCG TPM 2.0 Library part 1, section 19.7 (policy), part 2 (structures), part
3, section 23 (PolicyPCR, PolicyNV, PolicyOR, PolicyAuthorize, PolicyCommandCode).
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.core.errors import Invalid

MAX_POLICY_FILE_BYTES = 64 * 1024
HOLDERS = 2
DIGEST_BYTES = 32
HIGHEST_EPOCH = 63
#: What the holders' signatures are for: they are worth nothing under another purpose.
POLICY_REF = b"praxissafe boot 1"

FLOOR_INDEX = 0x01A50008
FLOOR_BYTES = 8
#: TPMA_NV: AUTHWRITE, POLICYREAD, NO_DA, TPM2_NT_BITS (part 2, section 13.4).
FLOOR_ATTRIBUTES = 0x0000_0004 | 0x0008_0000 | 0x0200_0000 | 2 << 4
NV_WRITTEN = 0x2000_0000

PCR_SECURE_BOOT, PCR_IMAGE, PCR_PARAMETERS = 7, 11, 12
NEVER_EXTENDED = bytes(DIGEST_BYTES)
#: TPM2_EO_BITCLEAR: every bit set in the operand is clear in the index (part 2, section 6.8).
BIT_CLEAR = 0x000B

_SHA256 = 0x000B
_NULL = 0x0010
_CC_POLICY_NV, _CC_AUTHORIZE, _CC_COMMAND_CODE = 0x0149, 0x016A, 0x016C
_CC_OR, _CC_PCR = 0x0171, 0x017F

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class ReleaseSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`holder` is the SHA-256 of the public key (SubjectPublicKeyInfo, DER); `signature` ECDSA, DER."""

    holder: Digest
    signature: Annotated[bytes, msgspec.Meta(max_length=80)]


class SignedBoot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One value that PCR 11 may have, and who approved it."""

    pcr11: Digest
    signatures: Annotated[list[ReleaseSignature], msgspec.Meta(max_length=4)] = []


class BootPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A release's boots; `epoch` is its security epoch."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    epoch: Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_EPOCH)]
    boots: Annotated[list[SignedBoot], msgspec.Meta(max_length=64)]

    def signature(self, pcr11: bytes, holder: bytes) -> bytes | None:
        """Give the signature of a holder (`holder_fingerprint`) over this value of PCR 11, if there is one."""
        for boot in self.boots:
            for found in boot.signatures:
                if (boot.pcr11, found.holder) == (pcr11.hex(), holder.hex()):
                    return found.signature
        return None

    def knows(self, pcr11: bytes) -> bool:
        """True if this release may have this value of PCR 11."""
        return any(boot.pcr11 == pcr11.hex() for boot in self.boots)


def decode_boot_policy(raw: bytes) -> BootPolicy:
    """Read the file; Invalid("boot_policy")."""
    if len(raw) > MAX_POLICY_FILE_BYTES:
        raise Invalid("boot_policy")
    try:
        return msgspec.json.decode(raw, type=BootPolicy)
    except msgspec.MsgspecError as error:
        raise Invalid("boot_policy") from error


def encode_boot_policy(policy: BootPolicy) -> bytes:
    """Write the file."""
    return msgspec.json.format(msgspec.json.encode(policy), indent=1) + b"\n"


# --- the holders ---------------------------------------------------------------------------------------------------


def read_release_keys(pem: bytes) -> list[bytes]:
    """Give the holders' two public keys (SubjectPublicKeyInfo, DER) of a PEM file; Invalid("release_keys")."""
    end = b"-----END PUBLIC KEY-----"
    keys = [public_key_der(part + end) for part in pem.split(end)[:-1]]
    if len(set(keys)) != HOLDERS or len(keys) != HOLDERS:
        raise Invalid("release_keys")
    return keys


def public_key_der(pem: bytes) -> bytes:
    """Give an ECDSA P-256 public key as DER; Invalid("release_keys")."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("release_keys") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("release_keys")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def holder_fingerprint(key: bytes) -> bytes:
    """Give what a holder is called in the file."""
    return hashlib.sha256(key).digest()


def key_public_area(key: bytes) -> bytes:
    """Give a holder's key as TPMT_PUBLIC (part 2, section 12.2.4): sign, userWithAuth, ECDSA with SHA-256."""
    point = key[-64:]  # the end of a P-256 SubjectPublicKeyInfo with an uncompressed point (RFC 5480)
    area = _numbers(0x0023, _SHA256) + (0x0004_0040).to_bytes(4, "big") + _sized(b"")
    area += _numbers(_NULL, 0x0018, _SHA256, 0x0003, _NULL)
    return area + _sized(point[:32]) + _sized(point[32:])


def name_of(public_area: bytes) -> bytes:
    """Give the name of an object or an index (part 1, section 16): its algorithm and the hash of its public area."""
    return _numbers(_SHA256) + hashlib.sha256(public_area).digest()


# --- the floor -----------------------------------------------------------------------------------------------------


def floor_policy() -> bytes:
    """Give the floor's own policy: whoever wants may have the TPM compare it, and nobody needs a secret for that."""
    return _extended(NEVER_EXTENDED, _CC_COMMAND_CODE, _CC_POLICY_NV.to_bytes(4, "big"))


def floor_name() -> bytes:
    """Give the floor's name once it was written: the same on every box."""
    area = FLOOR_INDEX.to_bytes(4, "big") + _numbers(_SHA256) + (FLOOR_ATTRIBUTES | NV_WRITTEN).to_bytes(4, "big")
    return name_of(area + _sized(floor_policy()) + _numbers(FLOOR_BYTES))


def bits_above(epoch: int) -> bytes:
    """Give the bits of all security epochs after this one, as the floor holds them: bit n is epoch n."""
    return ((1 << 64) - (1 << (epoch + 1))).to_bytes(FLOOR_BYTES, "big")


# --- digests -------------------------------------------------------------------------------------------------------


def pcr_policy(before: bytes, values: dict[int, bytes]) -> bytes:
    """Give the digest after PolicyPCR for these values of the SHA-256 bank."""
    selected = sum(1 << number for number in values).to_bytes(3, "little")
    selection = (1).to_bytes(4, "big") + _numbers(_SHA256) + b"\x03" + selected
    return _extended(before, _CC_PCR, selection + pcr_digest(values))


def pcr_digest(values: dict[int, bytes]) -> bytes:
    """Give the digest over the values in the order of their numbers."""
    return hashlib.sha256(b"".join(values[number] for number in sorted(values))).digest()


def approved_policy(pcr11: bytes, epoch: int) -> bytes:
    """Give what a holder approves: PCR 11 as given, PCR 12 never extended, the floor not above the epoch."""
    digest = pcr_policy(NEVER_EXTENDED, {PCR_IMAGE: pcr11, PCR_PARAMETERS: NEVER_EXTENDED})
    arguments = hashlib.sha256(bits_above(epoch) + _numbers(0, BIT_CLEAR)).digest()
    return _extended(digest, _CC_POLICY_NV, arguments + floor_name())


def signed_bytes(pcr11: bytes, epoch: int) -> bytes:
    """Give the bytes that a holder signs with ECDSA and SHA-256 (PolicyAuthorize: policy and reference)."""
    return approved_policy(pcr11, epoch) + POLICY_REF


def branches(key: bytes, pcr7: list[bytes]) -> list[bytes]:
    """Give the branches of a half's PolicyOR: approved by the holder, and PCR 7 one of these. Two to eight."""
    authorized = _extended(NEVER_EXTENDED, _CC_AUTHORIZE, name_of(key_public_area(key)))
    authorized = hashlib.sha256(authorized + POLICY_REF).digest()
    each = [pcr_policy(authorized, {PCR_SECURE_BOOT: value}) for value in pcr7]
    return each if len(each) > 1 else each * 2


def half_policy(key: bytes, pcr7: list[bytes]) -> bytes:
    """Give the policy of the half that this holder's approval opens."""
    return _extended(NEVER_EXTENDED, _CC_OR, b"".join(branches(key, pcr7)))


def _extended(before: bytes, command: int, arguments: bytes) -> bytes:
    return hashlib.sha256(before + command.to_bytes(4, "big") + arguments).digest()


def _numbers(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)


def _sized(data: bytes) -> bytes:
    return _numbers(len(data)) + data
