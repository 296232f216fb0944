"""The station's Ed25519 key: made once, kept in a file that only its owner reads, listed by the portal."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from nacl.signing import SigningKey

from appliance.core.errors import Invalid, NotFound, Refused

SEED_BYTES = 32


def make_station_key(path: Path) -> str:
    """Write a new key (mode 0600) and give its public half as the portal's settings spell it.

    Refused("key_exists") if the file is there already.
    """
    key = SigningKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused("key_exists") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(bytes(key)) + b"\n")
    return public_text(key)


def read_station_key(path: Path) -> SigningKey:
    """Read the key; NotFound("station_key"), Invalid("station_key"), Refused("key_open") if others may read it."""
    try:
        if path.stat().st_mode & 0o077:
            raise Refused("key_open")
        seed = base64.b64decode(path.read_bytes(), validate=False)
    except FileNotFoundError as error:
        raise NotFound("station_key") from error
    except ValueError as error:
        raise Invalid("station_key") from error
    if len(seed) != SEED_BYTES:
        raise Invalid("station_key")
    return SigningKey(seed)


def public_text(key: SigningKey) -> str:
    """Give the public half, base64url without padding."""
    return base64.urlsafe_b64encode(bytes(key.verify_key)).decode().rstrip("=")
