"""The device record: a station says that this box, with this device key in this TPM, answers under this host name.

Purpose: a portal routes only for boxes that have a record signed by a station it lists. The record travels and is
stored as JSON; the signature covers `signed_bytes`, whose offsets are in docs/formats/device-record.md.

Rules it keeps: the signed bytes are built from the parsed fields, so JSON spelling cannot change the meaning;
unknown fields are refused; the device key must be a point on P-256; the record names the one portal it is for, so
another portal does not take it. It holds no secret.

Sources: RFC 5480 (the key as vault gives it), SEC 1 2.3.3 (uncompressed point), RFC 8032 (Ed25519, by PyNaCl),
RFC 4648 5 (base64url, no padding).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Container

import msgspec
import nacl.exceptions
import nacl.signing
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.client_hello import HOST_NAME

CONTEXT = b"praxissafe device record 1\0"
MAX_RECORD_BYTES = 4096
BOX_BYTES = 16
ENDORSEMENT_BYTES = 32
DEVICE_KEY_BYTES = 65  # 0x04 | X | Y
STATION_KEY_BYTES = 32
SIGNATURE_BYTES = 64
MAX_ISSUED_AT = 1 << 53

BOX_TEXT = re.compile(r"[0-9a-f]{32}\Z")


class DeviceRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One record; the fields as they stand in the JSON."""

    version: int
    box: str  # 32 hexadecimal digits
    device_key: str  # base64url of the 65-byte point
    endorsement: str  # base64url of SHA-256 of the TPM's endorsement key (SubjectPublicKeyInfo, DER)
    host_name: str  # the one name the portal routes to this box
    portal_name: str
    issued_at: int  # unix seconds; of two records of a box the later one holds
    station_key: str = ""  # base64url of 32 bytes
    signature: str = ""  # base64url of 64 bytes

    @property
    def box_bytes(self) -> bytes:
        """The box id as 16 bytes."""
        return bytes.fromhex(self.box)

    @property
    def device_point(self) -> bytes:
        """The device key as an uncompressed point."""
        return _base64url(self.device_key, DEVICE_KEY_BYTES)

    @property
    def endorsement_bytes(self) -> bytes:
        """The fingerprint of the endorsement key."""
        return _base64url(self.endorsement, ENDORSEMENT_BYTES)


def make_record(
    *, box: bytes, device_key: bytes, endorsement: bytes, host_name: str, portal_name: str, issued_at: int
) -> DeviceRecord:
    """Give an unsigned record; `device_key` is a SubjectPublicKeyInfo in DER, as vault gives it.

    `endorsement` is the fingerprint of the TPM's endorsement key (formats/endorsement.py).

    Raises Invalid when a field is not what its comment says.
    """
    record = DeviceRecord(
        version=1,
        box=box.hex(),
        device_key=_text(_point(device_key)),
        endorsement=_text(endorsement),
        host_name=host_name,
        portal_name=portal_name,
        issued_at=issued_at,
    )
    check_form(record)
    return record


def signed_bytes(record: DeviceRecord) -> bytes:
    """Give what the station signs (docs/formats/device-record.md)."""
    host_name = record.host_name.encode()
    return (
        CONTEXT
        + record.box_bytes
        + record.device_point
        + record.endorsement_bytes
        + hashlib.sha256(record.portal_name.encode()).digest()
        + record.issued_at.to_bytes(8, "big")
        + bytes([len(host_name)])
        + host_name
    )


def sign_record(record: DeviceRecord, station: nacl.signing.SigningKey) -> DeviceRecord:
    """Give the record signed by a station's key; the caller keeps the key."""
    return msgspec.structs.replace(
        record,
        station_key=_text(bytes(station.verify_key)),
        signature=_text(station.sign(signed_bytes(record)).signature),
    )


def encode_record(record: DeviceRecord) -> bytes:
    """Give the JSON of a record."""
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> DeviceRecord:
    """Read the JSON of a record. Raises Invalid for anything malformed; the signature is not checked here."""
    if len(data) > MAX_RECORD_BYTES:
        raise Invalid("device_record")
    try:
        record = msgspec.json.decode(data, type=DeviceRecord, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid("device_record") from error
    check_form(record)
    return record


def check_form(record: DeviceRecord) -> None:
    """Raise Invalid("device_record"), Invalid("device_key") for fields that are not what they must be."""
    if not (
        record.version == 1
        and BOX_TEXT.match(record.box)
        and HOST_NAME.match(record.host_name)
        and HOST_NAME.match(record.portal_name)
        and record.host_name != record.portal_name
        and 0 <= record.issued_at < MAX_ISSUED_AT
    ):
        raise Invalid("device_record")
    _ = record.endorsement_bytes
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), record.device_point)
    except ValueError as error:
        raise Invalid("device_key") from error


def check_record(record: DeviceRecord, stations: Container[bytes], portal_name: str) -> None:
    """Check who signed the record and for whom.

    Raises Refused("station") for a station that is not listed, Refused("portal") for another portal's record and
    Tampered("device_record") for a wrong signature.
    """
    station_key = _base64url(record.station_key, STATION_KEY_BYTES)
    signature = _base64url(record.signature, SIGNATURE_BYTES)
    if station_key not in stations:
        raise Refused("station")
    if record.portal_name != portal_name:
        raise Refused("portal")
    try:
        nacl.signing.VerifyKey(station_key).verify(signed_bytes(record), signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError) as error:
        raise Tampered("device_record") from error


def _point(public_key_info: bytes) -> bytes:
    try:
        key = load_der_public_key(public_key_info)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("device_key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("device_key")
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _base64url(text: str, length: int) -> bytes:
    """Decode base64url without padding to exactly `length` bytes, in its one canonical spelling."""
    try:
        value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise Invalid("device_record") from error
    if len(value) != length or _text(value) != text:
        raise Invalid("device_record")
    return value
