"""A revocation: a station says that a box is no box any more: it was reset, replaced or lost. Pure.

The portal takes it by `POST /revocations`: the box's id and device key never come back, its TPM and its host name are
free for another box. Signed bytes: docs/formats/device-record.md. Source: RFC 8032 (Ed25519, by PyNaCl).
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from typing import Annotated, Literal

import msgspec
import nacl.exceptions
import nacl.signing

from appliance.core.errors import Refused, Tampered

CONTEXT = b"praxissafe revocation 1\0"
MAX_REVOKED_AT = 1 << 53


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One revocation; the fields as they stand in the JSON, byte strings as base64."""

    version: Literal[1] = 1
    box: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    portal_name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    revoked_at: Annotated[int, msgspec.Meta(ge=0, lt=MAX_REVOKED_AT)]
    station_key: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


def make_revocation(box: str, portal_name: str, revoked_at: int, station: nacl.signing.SigningKey) -> Revocation:
    """Give a signed revocation; the caller keeps the key."""
    signature = station.sign(_signed_bytes(box, portal_name, revoked_at)).signature
    return Revocation(
        box=box,
        portal_name=portal_name,
        revoked_at=revoked_at,
        station_key=bytes(station.verify_key),
        signature=signature,
    )


def check_revocation(revocation: Revocation, stations: Container[bytes], portal_name: str) -> None:
    """Raise Refused("station"), Refused("portal") or Tampered("revocation"), as check_record does for a record."""
    if revocation.station_key not in stations:
        raise Refused("station")
    if revocation.portal_name != portal_name:
        raise Refused("portal")
    signed = _signed_bytes(revocation.box, revocation.portal_name, revocation.revoked_at)
    try:
        nacl.signing.VerifyKey(revocation.station_key).verify(signed, revocation.signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError) as error:
        raise Tampered("revocation") from error


def _signed_bytes(box: str, portal_name: str, revoked_at: int) -> bytes:
    name = hashlib.sha256(portal_name.encode()).digest()
    return CONTEXT + bytes.fromhex(box) + name + revoked_at.to_bytes(8, "big")
