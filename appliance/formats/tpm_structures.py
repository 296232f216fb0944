"""What a TPM 2.0 says of its keys and of itself, read strictly: public areas, attestations, signatures. Pure.

Only the forms that a box of ours has are read (docs/formats/attestation.md): keys are ECC P-256 and sign by ECDSA
with SHA-256, names and PCRs are SHA-256. Anything else, a byte too few or too many, is Invalid("tpm_structure"); what
is read is written to the same bytes again. Nothing is judged here: attestation.py does.

Sources: TCG TPM 2.0 Library part 2, sections 10.12 (TPMS_ATTEST), 11.3 (TPMT_SIGNATURE), 12.2 (TPMT_PUBLIC); part 1,
section 16 (names).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from appliance.core.errors import Invalid

MAX_STRUCTURE_BYTES = 1024
DIGEST_BYTES = 32
NAME_BYTES = 2 + DIGEST_BYTES
COORDINATE_BYTES = 32
PCR_BITMAP_BYTES = 3
#: TPM_GENERATED_VALUE: a restricted key signs nothing that begins so unless the TPM itself has made it.
GENERATED = 0xFF544347

ALG_RSA, ALG_AES, ALG_SHA256, ALG_NULL, ALG_ECDSA, ALG_ECC, ALG_CFB = 0x01, 0x06, 0x0B, 0x10, 0x18, 0x23, 0x43
CURVE_P256 = 0x0003
ST_CERTIFY, ST_QUOTE = 0x8017, 0x8018

#: TPMA_OBJECT (part 2, section 8.3).
FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
USER_WITH_AUTH, ADMIN_WITH_POLICY, NO_DA = 1 << 6, 1 << 7, 1 << 10
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18


@dataclass(frozen=True)
class SigningKey:
    """TPMT_PUBLIC of a key that signs."""

    attributes: int
    policy: bytes
    x: bytes
    y: bytes

    @property
    def point(self) -> bytes:
        """The point, uncompressed (SEC 1, 2.3.3); the TPM may leave zeros at the front of a coordinate out."""
        return b"\x04" + self.x.rjust(COORDINATE_BYTES, b"\0") + self.y.rjust(COORDINATE_BYTES, b"\0")

    @property
    def name(self) -> bytes:
        """The key's name: what other structures call it."""
        return _number(ALG_SHA256) + hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """Give the bytes as the TPM marshals them."""
        return (
            _number(ALG_ECC, ALG_SHA256)
            + self.attributes.to_bytes(4, "big")
            + sized(self.policy)
            + _number(ALG_NULL, ALG_ECDSA, ALG_SHA256, CURVE_P256, ALG_NULL)
            + sized(self.x)
            + sized(self.y)
        )


@dataclass(frozen=True)
class Clock:
    """TPMS_CLOCK_INFO: how often the TPM was reset and restarted."""

    time_ms: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True)
class Certified:
    """TPMS_CERTIFY_INFO: the object with this name is loaded in this TPM."""

    name: bytes
    qualified_name: bytes


@dataclass(frozen=True)
class Quoted:
    """TPMS_QUOTE_INFO: which PCRs of the SHA-256 bank, and the SHA-256 of their values in order."""

    pcrs: tuple[int, ...]
    digest: bytes


@dataclass(frozen=True)
class Attestation:
    """TPMS_ATTEST: a statement of the TPM. `qualifying` is what the asker wanted bound to it."""

    signer: bytes
    qualifying: bytes
    clock: Clock
    firmware: int
    statement: Certified | Quoted

    def encode(self) -> bytes:
        """Give the bytes as the TPM marshals them."""
        clock = self.clock
        head = GENERATED.to_bytes(4, "big")
        middle = (
            sized(self.signer)
            + sized(self.qualifying)
            + clock.time_ms.to_bytes(8, "big")
            + clock.reset_count.to_bytes(4, "big")
            + clock.restart_count.to_bytes(4, "big")
            + bytes([clock.safe])
            + self.firmware.to_bytes(8, "big")
        )
        match self.statement:
            case Certified(name, qualified_name):
                return head + _number(ST_CERTIFY) + middle + sized(name) + sized(qualified_name)
            case Quoted(pcrs, digest):
                return head + _number(ST_QUOTE) + middle + _selection(pcrs) + sized(digest)


def read_signing_key(data: bytes) -> SigningKey:
    """Read a TPMT_PUBLIC."""
    reader = _Reader(data)
    reader.expect(_number(ALG_ECC, ALG_SHA256))
    attributes = reader.number(4)
    policy = reader.sized(0, DIGEST_BYTES)
    reader.expect(_number(ALG_NULL, ALG_ECDSA, ALG_SHA256, CURVE_P256, ALG_NULL))
    x = reader.sized(1, COORDINATE_BYTES)
    y = reader.sized(1, COORDINATE_BYTES)
    reader.end()
    return SigningKey(attributes, policy, x, y)


def read_attestation(data: bytes) -> Attestation:
    """Read a TPMS_ATTEST that certifies a key or quotes PCRs."""
    reader = _Reader(data)
    reader.expect(GENERATED.to_bytes(4, "big"))
    kind = reader.number(2)
    signer = reader.sized(NAME_BYTES, NAME_BYTES)
    qualifying = reader.sized(0, DIGEST_BYTES)
    clock = Clock(reader.number(8), reader.number(4), reader.number(4), reader.flag())
    firmware = reader.number(8)
    statement: Certified | Quoted
    if kind == ST_CERTIFY:
        statement = Certified(reader.sized(NAME_BYTES, NAME_BYTES), reader.sized(NAME_BYTES, NAME_BYTES))
    elif kind == ST_QUOTE:
        statement = Quoted(_pcrs(reader), reader.sized(DIGEST_BYTES, DIGEST_BYTES))
    else:
        raise Invalid("tpm_structure")
    reader.end()
    return Attestation(signer, qualifying, clock, firmware, statement)


def read_signature(data: bytes) -> bytes:
    """Read a TPMT_SIGNATURE; give it as DER."""
    reader = _Reader(data)
    reader.expect(_number(ALG_ECDSA, ALG_SHA256))
    r = int.from_bytes(reader.sized(1, COORDINATE_BYTES), "big")
    s = int.from_bytes(reader.sized(1, COORDINATE_BYTES), "big")
    reader.end()
    return encode_dss_signature(r, s)


def sized(data: bytes) -> bytes:
    """Give a TPM2B: two bytes of size, then the bytes."""
    return len(data).to_bytes(2, "big") + data


def _number(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _selection(pcrs: tuple[int, ...]) -> bytes:
    bits = sum(1 << pcr for pcr in pcrs)
    return (1).to_bytes(4, "big") + _number(ALG_SHA256) + bytes([PCR_BITMAP_BYTES]) + bits.to_bytes(3, "little")


def _pcrs(reader: _Reader) -> tuple[int, ...]:
    reader.expect((1).to_bytes(4, "big") + _number(ALG_SHA256) + bytes([PCR_BITMAP_BYTES]))
    bits = int.from_bytes(reader.take(PCR_BITMAP_BYTES), "little")
    return tuple(pcr for pcr in range(8 * PCR_BITMAP_BYTES) if bits >> pcr & 1)


class _Reader:
    """Reads from the front; Invalid("tpm_structure") for what is not there or not as expected."""

    def __init__(self, data: bytes) -> None:
        if len(data) > MAX_STRUCTURE_BYTES:
            raise Invalid("tpm_structure")
        self._left = memoryview(data)

    def take(self, count: int) -> bytes:
        if count > len(self._left):
            raise Invalid("tpm_structure")
        taken, self._left = bytes(self._left[:count]), self._left[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """TPMI_YES_NO (part 2, section 9.2)."""
        value = self.number(1)
        if value > 1:
            raise Invalid("tpm_structure")
        return value == 1

    def sized(self, least: int, most: int) -> bytes:
        size = self.number(2)
        if not least <= size <= most:
            raise Invalid("tpm_structure")
        return self.take(size)

    def expect(self, data: bytes) -> None:
        if self.take(len(data)) != data:
            raise Invalid("tpm_structure")

    def end(self) -> None:
        if self._left:
            raise Invalid("tpm_structure")
