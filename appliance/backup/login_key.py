"""The box's own login key for an SFTP store: Ed25519 in OpenSSH's form, made once, readable by nobody else.

It opens the store's door and nothing of the box; a new box makes a new one.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from appliance.core.files import write_whole

COMMENT = " praxissafe"


def login_key(path: Path) -> str:
    """Give the public half as an authorized_keys line; makes the key if there is none (sshd(8))."""
    if not path.exists():
        made = Ed25519PrivateKey.generate()
        write_whole(path, made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    key = load_ssh_private_key(path.read_bytes(), None)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + COMMENT
