"""A bundle: the keys of one backup generation, sealed to a recovery kit. Layout only; who seals and opens is vault.

Byte offsets: docs/formats/recovery-kit.md. What stands outside the seal is for finding the right bundle and the right
kit; it is bound to the seal, and the whole is authenticated by whoever opens it. Until then nothing of it is true.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from appliance.core.errors import Invalid, Tampered

VERSION = 1
HEADER = struct.Struct(">B16s16sQQ")
#: ML-KEM-768 ciphertext and X25519 public key (X-Wing).
ENCAPSULATED_BYTES = 1120
TAG_BYTES = 16
AUTHENTICATOR_BYTES = 32
KEY_BYTES = 32
#: One erasure key, or two while it is being replaced.
MAX_DOCUMENT_KEYS = 4
MIN_BUNDLE_BYTES = HEADER.size + ENCAPSULATED_BYTES + 2 * KEY_BYTES + TAG_BYTES + AUTHENTICATOR_BYTES
MAX_BUNDLE_BYTES = MIN_BUNDLE_BYTES + (MAX_DOCUMENT_KEYS - 1) * KEY_BYTES


@dataclass(frozen=True)
class BundleHeader:
    """Which kit opens the bundle, whose generation it is of, and when it was sealed (unix seconds)."""

    kit: str
    box: str
    generation: int
    sealed_at: int


@dataclass(frozen=True)
class Bundle:
    """A bundle in its parts; `bound` are the bytes that the seal is bound to, `authenticated` all but the last 32."""

    header: BundleHeader
    bound: bytes
    sealed: bytes
    authenticated: bytes
    authenticator: bytes


def encode_header(header: BundleHeader) -> bytes:
    """Give the first 49 bytes of a bundle."""
    return HEADER.pack(
        VERSION, bytes.fromhex(header.kit), bytes.fromhex(header.box), header.generation, header.sealed_at
    )


def decode_bundle(data: bytes) -> Bundle:
    """Give a bundle's parts; Tampered("bundle"), Invalid("bundle_version")."""
    if not data or data[0] != VERSION:
        raise Invalid("bundle_version") if data else Tampered("bundle")
    if not MIN_BUNDLE_BYTES <= len(data) <= MAX_BUNDLE_BYTES or (len(data) - MIN_BUNDLE_BYTES) % KEY_BYTES:
        raise Tampered("bundle")
    _, kit, box, generation, sealed_at = HEADER.unpack_from(data)
    return Bundle(
        header=BundleHeader(kit.hex(), box.hex(), generation, sealed_at),
        bound=data[: HEADER.size],
        sealed=data[HEADER.size : -AUTHENTICATOR_BYTES],
        authenticated=data[:-AUTHENTICATOR_BYTES],
        authenticator=data[-AUTHENTICATOR_BYTES:],
    )


def encode_keys(database: bytes, document_keys: tuple[bytes, ...]) -> bytes:
    """Give what is sealed: the database's key, then each key that wraps document keys."""
    if not 1 <= len(document_keys) <= MAX_DOCUMENT_KEYS:
        raise Invalid("document_keys")
    return b"".join((database, *document_keys))


def decode_keys(plaintext: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Give the database's key and the keys that wrap document keys."""
    database, *documents = (plaintext[at : at + KEY_BYTES] for at in range(0, len(plaintext), KEY_BYTES))
    return database, tuple(documents)
