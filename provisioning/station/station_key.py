"""The station's Ed25519 key: made once, kept in a file that only its owner reads, listed by the portal.

The file is one line: base64 of the 32-byte seed (RFC 8032 5.1.5).
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

from nacl.signing import SigningKey

from appliance.core.errors import Invalid, NotFound, Refused

SEED_BYTES = 32
MAX_FILE_BYTES = 128


def make_station_key(path: Path) -> str:
    """Write a new key (mode 0600) and give its public half as the portal's settings spell it.

    Refused("key_exists") if the file is there already, Invalid("key_folder") if it cannot be made.
    """
    key = SigningKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Refused("key_exists") from error
    except OSError as error:
        raise Invalid("key_folder") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(bytes(key)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return public_text(key)


def read_station_key(path: Path) -> SigningKey:
    """Read the key; NotFound("station_key"), Invalid("station_key"), Refused("key_open") if others may read it."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Refused("key_open")
            seed = base64.b64decode(file.read(MAX_FILE_BYTES).strip(), validate=True)
    except FileNotFoundError as error:
        raise NotFound("station_key") from error
    except (OSError, ValueError) as error:
        raise Invalid("station_key") from error
    if len(seed) != SEED_BYTES:
        raise Invalid("station_key")
    return SigningKey(seed)


def public_text(key: SigningKey) -> str:
    """Give the public half, base64url without padding."""
    return base64.urlsafe_b64encode(bytes(key.verify_key)).decode().rstrip("=")
