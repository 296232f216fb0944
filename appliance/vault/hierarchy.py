"""The key hierarchy: every key by its name, from two keys that the TPM keeps. Pure.

Source: RFC 5869 (HKDF-SHA256, no salt, info = "praxissafe key 1 " and the name); docs/formats/key-hierarchy.md lists
the names. Rule: what must be erasable comes from the erasure key, never from the root key alone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.core.errors import Tampered, Unavailable
from appliance.vault.erasure_slots import ErasureKey

KEY_BYTES = 32
NONCE_BYTES = 12
CONTEXT = b"praxissafe key 1 "
DOCUMENT_KEY_CONTEXT = b"praxissafe document key 1\0"


def derive(key: bytes, name: str) -> bytes:
    """Give the 32-byte key of this name."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=CONTEXT + name.encode()).derive(key)


def device_authorisation(root_key: bytes) -> bytes:
    """Give what authorises the device key in the TPM: without the root key the box cannot speak as itself."""
    return derive(root_key, "device authorisation")


def erasure_authorisation(root_key: bytes) -> bytes:
    """Give what authorises reading and writing the erasure key's slots in the TPM."""
    return derive(root_key, "erasure authorisation")


def counter_authorisation(root_key: bytes) -> bytes:
    """Give what authorises counting in the TPM: nobody else can make the box's state invalid."""
    return derive(root_key, "counter authorisation")


def owner_authorisation(root_key: bytes) -> bytes:
    """Give what authorises the TPM's owner: nobody else can take an index away and put another in its place."""
    return derive(root_key, "owner authorisation")


def floor_authorisation(root_key: bytes) -> bytes:
    """Give what authorises raising the floor of the security epoch."""
    return derive(root_key, "floor authorisation")


def lockout_authorisation(root_key: bytes) -> bytes:
    """Give what authorises forgiving wrong PINs in the TPM."""
    return derive(root_key, "lockout authorisation")


def combine(*parts: bytes) -> bytes:
    """Give the exclusive or of the parts of a key: any of them alone says nothing about it."""
    return bytes(reduce(xor, column) for column in zip(*parts, strict=True))


@dataclass(frozen=True)
class ErasureKeys:
    """What follows from one generation of the erasure key."""

    generation: int
    document_keys: bytes = field(repr=False)
    share_state: bytes = field(repr=False)

    @classmethod
    def of(cls, erasure_key: ErasureKey) -> ErasureKeys:
        """Derive them."""
        return cls(
            generation=erasure_key.generation,
            document_keys=derive(erasure_key.key, "document keys"),
            share_state=derive(erasure_key.key, "share state"),
        )


@dataclass(frozen=True)
class Keys:
    """The keys in vault's memory; none is in `repr`. `erasure` is one generation, or two while the key turns."""

    database: bytes = field(repr=False)
    state: bytes = field(repr=False)
    pin_verifiers: bytes = field(repr=False)
    erasure: tuple[ErasureKeys, ...] = field(repr=False)
    erasure_authorisation: bytes = field(repr=False)
    counter_authorisation: bytes = field(repr=False)
    floor_authorisation: bytes = field(repr=False)
    owner_authorisation: bytes = field(repr=False)
    lockout_authorisation: bytes = field(repr=False)
    kit_words: bytes = field(repr=False)
    acme_accounts: bytes = field(repr=False)

    @classmethod
    def of(cls, root_key: bytes, erasure_keys: Iterable[ErasureKey]) -> Keys:
        """Derive all of them; the erasure keys oldest first."""
        return cls(
            database=derive(root_key, "database"),
            state=derive(root_key, "state"),
            pin_verifiers=derive(root_key, "pin verifiers"),
            erasure=tuple(ErasureKeys.of(key) for key in erasure_keys),
            erasure_authorisation=erasure_authorisation(root_key),
            counter_authorisation=counter_authorisation(root_key),
            floor_authorisation=floor_authorisation(root_key),
            owner_authorisation=owner_authorisation(root_key),
            lockout_authorisation=lockout_authorisation(root_key),
            kit_words=derive(root_key, "kit words"),
            acme_accounts=derive(root_key, "acme accounts"),
        )

    @property
    def newest(self) -> ErasureKeys:
        """The generation that everything is wrapped under from now on."""
        return self.erasure[-1]

    def of_generation(self, generation: int) -> ErasureKeys | None:
        """Give the keys of a generation; None if the box has no such key, or no more."""
        return next((keys for keys in self.erasure if keys.generation == generation), None)


def seal(key: bytes, plaintext: bytes, associated_data: bytes, nonce: bytes) -> bytes:
    """Give nonce | AES-256-GCM ciphertext | tag; a nonce is 12 fresh random bytes, for one call only."""
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated_data)


def unseal(key: bytes, sealed: bytes, associated_data: bytes, code: str) -> bytes:
    """Give the plaintext; Tampered(code) if one bit of it, of the key or of the associated data differs."""
    if len(sealed) < NONCE_BYTES:
        raise Tampered(code)
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated_data)
    except InvalidTag as error:
        raise Tampered(code) from error


def wrap_document_key(keys: Keys, document: str, key: bytes, nonce: bytes) -> bytes:
    """Wrap a document's key for its row, under the newest erasure key: 60 bytes, bound to the document."""
    return seal(keys.newest.document_keys, key, DOCUMENT_KEY_CONTEXT + bytes.fromhex(document), nonce)


def unwrap_document_key(keys: Keys, generation: int, document: str, wrapped: bytes) -> bytes:
    """Unwrap under the key of a generation. Tampered("document_key"), Unavailable("key_turned") if that is gone."""
    of_generation = keys.of_generation(generation)
    if of_generation is None:
        raise Unavailable("key_turned") if generation < keys.newest.generation else Tampered("document_key")
    return unwrap_old_document_key(of_generation.document_keys, document, wrapped)


def unwrap_old_document_key(document_keys: bytes, document: str, wrapped: bytes) -> bytes:
    """Unwrap under a given key, for a restore; Tampered("document_key")."""
    return unseal(document_keys, wrapped, DOCUMENT_KEY_CONTEXT + bytes.fromhex(document), "document_key")


def turn_document_keys(keys: Keys, wrapped: Sequence[tuple[str, bytes]], random: bytes) -> list[bytes | None]:
    """Wrap (document, wrapped key) under the newest erasure key, from the one before; None for what does not open.

    `random` is a nonce for each, fresh.
    """
    before, newest = (AESGCM(one.document_keys) for one in keys.erasure)
    turned: list[bytes | None] = []
    for place, (document, old) in enumerate(wrapped):
        bound = DOCUMENT_KEY_CONTEXT + bytes.fromhex(document)
        nonce = random[place * NONCE_BYTES : (place + 1) * NONCE_BYTES]
        try:
            key = before.decrypt(old[:NONCE_BYTES], old[NONCE_BYTES:], bound)
        except InvalidTag:
            turned.append(None)
        else:
            turned.append(nonce + newest.encrypt(nonce, key, bound))
    return turned


def pin_verifier(keys: Keys, share: str, pin: str) -> bytes:
    """Give what is kept of a PIN: HMAC-SHA256 over share and PIN, so that it fits no other share."""
    return hmac.digest(keys.pin_verifiers, bytes.fromhex(share) + pin.encode("ascii"), hashlib.sha256)
