"""Ed25519 keys as text: base64url of 32 bytes, without padding, as settings and key files have them. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from appliance.core.errors import Invalid

KEY_BYTES = 32


def read_key(text: str) -> bytes:
    """Give the key's bytes; Invalid("settings") for a text that is none."""
    try:
        key = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as error:
        raise Invalid("settings") from error
    if len(key) != KEY_BYTES:
        raise Invalid("settings")
    return key


def read_keys(texts: Iterable[str]) -> frozenset[bytes]:
    """Give the keys' bytes; Invalid("settings")."""
    return frozenset(map(read_key, texts))


def key_text(key: bytes) -> str:
    """Give the text of a key."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()
