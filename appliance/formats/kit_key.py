"""The key of a recovery kit: what its seed gives, and sealing a backup generation's keys to it. Pure.

HPKE (RFC 9180), base mode, suite MLKEM768-X25519 (0x647a, X-Wing: draft-connolly-cfrg-xwing-kem), HKDF-SHA256,
AES-256-GCM. The seed is X-Wing's private key. HPKE does not say who sealed, so a bundle also carries an HMAC under a
key that follows from the seed and that only a box which made the kit keeps: a store that learned the public key
cannot make a bundle. docs/formats/recovery-kit.md.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.kit_bundle import BundleHeader, decode_bundle, decode_keys, encode_header, encode_keys

SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
BUNDLE_CONTEXT = b"praxissafe kit bundle 1\0"
CONTEXT = b"praxissafe kit 1 "
KEY_BYTES = 32
ID_BYTES = 16
ML_KEM_SEED_BYTES = 64
ML_KEM_PUBLIC_KEY_BYTES = 1184
EXPANDED_BYTES = 96


@dataclass(frozen=True)
class KitSeed:
    """What follows from the seed of a kit, for the moment it is made and for a restore."""

    kit: str
    private_key: MLKEM768X25519PrivateKey = field(repr=False)
    public_key: bytes
    authentication_key: bytes = field(repr=False)
    repository_password: str = field(repr=False)


@dataclass(frozen=True)
class OldKeys:
    """What a bundle held."""

    header: BundleHeader
    database: bytes = field(repr=False)
    document_keys: tuple[bytes, ...] = field(repr=False)


def of_seed(seed: bytes) -> KitSeed:
    """Give all that follows from a seed."""
    expanded = hashlib.shake_256(seed).digest(EXPANDED_BYTES)
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:ML_KEM_SEED_BYTES])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[ML_KEM_SEED_BYTES:])
    return KitSeed(
        kit=_derived(seed, "id", ID_BYTES).hex(),
        private_key=MLKEM768X25519PrivateKey(ml_kem, x25519),
        public_key=ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(),
        authentication_key=_derived(seed, "bundle authentication"),
        repository_password=urlsafe_b64encode(_derived(seed, "repository password")).decode().rstrip("="),
    )


def seal_bundle(
    public_key: bytes,
    authentication_key: bytes,
    header: BundleHeader,
    database: bytes,
    document_keys: tuple[bytes, ...],
) -> bytes:
    """Seal a generation's keys to a kit."""
    bound = encode_header(header)
    sealed = SUITE.encrypt(
        encode_keys(database, document_keys), read_public_key(public_key), info=BUNDLE_CONTEXT + bound
    )
    return bound + sealed + _authenticator(authentication_key, bound + sealed)


def open_bundle(seed: KitSeed, data: bytes) -> OldKeys:
    """Open a bundle; Refused("bundle_of_other_kit"), Tampered("bundle"), Invalid("bundle_version")."""
    bundle = decode_bundle(data)
    if bundle.header.kit != seed.kit:
        raise Refused("bundle_of_other_kit")
    expected = _authenticator(seed.authentication_key, bundle.authenticated)
    if not hmac.compare_digest(expected, bundle.authenticator):
        raise Tampered("bundle")
    try:
        plaintext = SUITE.decrypt(bundle.sealed, seed.private_key, info=BUNDLE_CONTEXT + bundle.bound)
    except InvalidTag as error:
        raise Tampered("bundle") from error
    return OldKeys(bundle.header, *decode_keys(plaintext))


def read_public_key(public_key: bytes) -> MLKEM768X25519PublicKey:
    """Give the key from its 1,216 bytes; Invalid("kit_public_key")."""
    try:
        return MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(public_key[:ML_KEM_PUBLIC_KEY_BYTES]),
            X25519PublicKey.from_public_bytes(public_key[ML_KEM_PUBLIC_KEY_BYTES:]),
        )
    except ValueError as error:
        raise Invalid("kit_public_key") from error


def _authenticator(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, BUNDLE_CONTEXT + data, hashlib.sha256)


def _derived(seed: bytes, name: str, length: int = KEY_BYTES) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=CONTEXT + name.encode()).derive(seed)
