"""The sealed passphrase of the disk's recovery slot (LUKS2): 32 bytes that any two sheets of a kit give back. Pure.

HPKE with the kit's suite (kit_key.py), bound to kit, box and the UUID of the LUKS header. Byte offsets:
docs/formats/recovery-kit.md. HPKE does not say who sealed, and nobody needs to know: a file that somebody else made
gives a passphrase that opens no slot.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from cryptography.exceptions import InvalidTag

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.kit_key import SUITE, KitSeed, read_public_key

VERSION = 1
PASSPHRASE_BYTES = 32
HEADER = struct.Struct(">B16s16s16s")
ENCAPSULATED_BYTES = 1120
TAG_BYTES = 16
DISK_SLOT_BYTES = HEADER.size + ENCAPSULATED_BYTES + PASSPHRASE_BYTES + TAG_BYTES
CONTEXT = b"praxissafe kit disk 1\0"


@dataclass(frozen=True)
class DiskSlotHeader:
    """Which kit opens the file, which box made it, and of which disk's header it is."""

    kit: str
    box: str
    disk: UUID


def seal_passphrase(public_key: bytes, header: DiskSlotHeader, passphrase: bytes) -> bytes:
    """Give the sealed file; Invalid("kit_public_key"), Invalid("passphrase") for any other length."""
    if len(passphrase) != PASSPHRASE_BYTES:
        raise Invalid("passphrase")
    bound = _encode(header)
    try:
        return bound + SUITE.encrypt(passphrase, read_public_key(public_key), info=_info(bound))
    except ValueError as error:  # a point of small order
        raise Invalid("kit_public_key") from error


def read_header(data: bytes) -> DiskSlotHeader:
    """Read what stands outside the seal; Invalid("disk_slot_version"), Tampered("disk_slot")."""
    if data and data[0] != VERSION:
        raise Invalid("disk_slot_version")
    if len(data) != DISK_SLOT_BYTES:
        raise Tampered("disk_slot")
    _, kit, box, disk = HEADER.unpack_from(data)
    return DiskSlotHeader(kit.hex(), box.hex(), UUID(bytes=disk))


def open_passphrase(seed: KitSeed, data: bytes) -> bytes:
    """Give the passphrase; Refused("disk_slot_of_other_kit"), and what `read_header` raises."""
    header = read_header(data)
    if header.kit != seed.kit:
        raise Refused("disk_slot_of_other_kit")
    bound, sealed = data[: HEADER.size], data[HEADER.size :]
    try:
        return SUITE.decrypt(sealed, seed.private_key, info=_info(bound))
    except (InvalidTag, ValueError) as error:
        raise Tampered("disk_slot") from error


def _encode(header: DiskSlotHeader) -> bytes:
    return HEADER.pack(VERSION, bytes.fromhex(header.kit), bytes.fromhex(header.box), header.disk.bytes)


def _info(bound: bytes) -> bytes:
    return CONTEXT + bound[1:]
