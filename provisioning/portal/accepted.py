"""The accepted boxes as one signed file: every device record and revocation of a portal, numbered. Pure.

Purpose: one portal registers boxes; it writes this file, and any number of relays take their boxes from it, however
it reached them. Offsets and fields: docs/formats/accepted-boxes.md.

Rules it keeps: the signature covers the bytes as they are and is checked before anything is parsed; the file names
the one portal it is for; unknown fields are refused. Who reads it checks every record and revocation in it by its
station's signature again: the registry's key alone makes no box. Source: RFC 8032 (Ed25519, by PyNaCl).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import nacl.exceptions
import nacl.signing

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.device_record import DeviceRecord
from provisioning.portal.known_boxes import Revoked

CONTEXT = b"praxissafe accepted boxes 1\0"
FIRST_LINE = b"praxissafe accepted boxes 1\n"
SIGNATURE_BYTES = 64
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_NUMBER = 1 << 53

Number = Annotated[int, msgspec.Meta(ge=0, lt=MAX_NUMBER)]


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the file says; times are unix seconds."""

    version: Literal[1] = 1
    portal_name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    #: Of two files the one with the greater number holds.
    number: Number
    made_at: Number
    #: From then on no box may log in by this file.
    expires_at: Number
    records: tuple[DeviceRecord, ...]
    revoked: tuple[Revoked, ...]


def make_accepted(
    *,
    portal_name: str,
    previous_number: int,
    made_at: int,
    expires_at: int,
    records: Sequence[DeviceRecord],
    revoked: Sequence[Revoked],
) -> Accepted:
    """Give the next file; its number is the time, or one more than the previous if that is later.

    So a writer that has lost its last file still writes a number that relays take, as long as its clock is right.
    """
    return Accepted(
        portal_name=portal_name,
        number=max(previous_number + 1, made_at),
        made_at=made_at,
        expires_at=expires_at,
        records=tuple(records),
        revoked=tuple(revoked),
    )


def sign_accepted(accepted: Accepted, key: nacl.signing.SigningKey) -> bytes:
    """Give the file's bytes; the caller keeps the key."""
    body = msgspec.json.encode(accepted)
    signature = key.sign(CONTEXT + body).signature
    return FIRST_LINE + base64.b64encode(signature) + b"\n" + body


def open_accepted(data: bytes, key: bytes, portal_name: str) -> Accepted:
    """Check who signed `data` and for which portal, then read it; neither records nor time nor number are looked at.

    Raises Invalid("accepted_file") for bytes that are no such file, Tampered("accepted_file") for another signature,
    Refused("portal") for another portal's file.
    """
    if len(data) > MAX_FILE_BYTES or not data.startswith(FIRST_LINE):
        raise Invalid("accepted_file")
    line, newline, body = data[len(FIRST_LINE) :].partition(b"\n")
    try:
        signature = base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Invalid("accepted_file") from error
    if not newline or len(signature) != SIGNATURE_BYTES:
        raise Invalid("accepted_file")
    try:
        nacl.signing.VerifyKey(key).verify(CONTEXT + body, signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError) as error:
        raise Tampered("accepted_file") from error
    try:
        accepted = msgspec.json.decode(body, type=Accepted, strict=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid("accepted_file") from error
    if accepted.portal_name != portal_name:
        raise Refused("portal")
    return accepted
