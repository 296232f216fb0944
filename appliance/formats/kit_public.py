"""What vault publishes of the recovery kit in use, for who seals to it elsewhere: identifiers and the public key.

Byte offsets: docs/formats/recovery-kit.md. Nothing of it is secret, and nothing vouches for it but the file's owner.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from appliance.core.errors import Invalid

VERSION = 1
#: ML-KEM-768's public key and X25519's.
PUBLIC_KEY_BYTES = 1216
LAYOUT = struct.Struct(f">B16s16s{PUBLIC_KEY_BYTES}s")


@dataclass(frozen=True)
class KitPublic:
    """A kit, the box that made it, and the public key."""

    kit: str
    box: str
    public_key: bytes


def encode_kit_public(kit: KitPublic) -> bytes:
    """Give the file's bytes."""
    return LAYOUT.pack(VERSION, bytes.fromhex(kit.kit), bytes.fromhex(kit.box), kit.public_key)


def decode_kit_public(data: bytes) -> KitPublic:
    """Read the file's bytes; Invalid("kit_public")."""
    if len(data) != LAYOUT.size or data[0] != VERSION:
        raise Invalid("kit_public")
    _, kit, box, public_key = LAYOUT.unpack(data)
    return KitPublic(kit.hex(), box.hex(), public_key)
