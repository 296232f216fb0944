"""The unlock part of the root key: what a start needs besides the TPM and a signed boot. Pure.

root key = boot part (keys.py) XOR change part (tpm_unlock.py) XOR unlock part. Under "itself" the unlock part is
zeros. Under "computer" it is random, and sealed to the X25519 key of each paired computer. Under "pin" it is sealed
in the TPM under an authorisation that follows from the PIN, and that object lies here encrypted under a key which is
sealed to the X25519 key of each paired computer: who has none of them cannot even ask the TPM.

Sources: RFC 9180 (HPKE, base mode, DHKEM X25519, HKDF-SHA256, AES-256-GCM), docs/formats/key-hierarchy.md.
"""

from __future__ import annotations

import hmac
import re
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from appliance.core.errors import Refused, Tampered
from appliance.vault import hierarchy
from appliance.vault.codes import normalized
from appliance.vault.hierarchy import KEY_BYTES, derive
from appliance.vault.tpm import Blob

SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
SEALED_CONTEXT = b"praxissafe unlock 1\0"
OBJECT_CONTEXT = b"praxissafe unlock object 1\0"
MAX_COMPUTERS = 20
NOTHING = bytes(KEY_BYTES)

Way = Literal["itself", "pin", "computer"]
_CODE = re.compile(r"[0-9A-Z]{20}\Z")


class Computer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A paired computer or the spare code: its public key, and what all of them share, sealed to it."""

    computer: str
    public_key: bytes
    sealed: bytes


class Unlock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the box is opened. `pin_object` is there under "pin" only: an encrypted PinObject."""

    way: Way = "itself"
    computers: Annotated[list[Computer], msgspec.Meta(max_length=MAX_COMPUTERS)] = []
    pin_object: bytes = b""


class PinObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The TPM's object with the unlock part, and what makes its authorisation value differ from box to box."""

    blob: Blob
    salt: bytes


def public_key(secret: str) -> bytes:
    """Give the public key of a computer's secret or of a spare code, however it was typed."""
    return _private_key(secret).public_key().public_bytes_raw()


def seal_to(computer: str, public: bytes, shared: bytes) -> Computer:
    """Seal what all paired computers share to one of them."""
    sealed = SUITE.encrypt(shared, X25519PublicKey.from_public_bytes(public), _context(computer))
    return Computer(computer=computer, public_key=public, sealed=sealed)


def open_shared(unlock: Unlock, secret: str) -> bytes:
    """Give what the paired computers share; Refused("computer") for a secret that is none of theirs."""
    private = _private_key(secret)
    public = private.public_key().public_bytes_raw()
    for one in unlock.computers:
        if hmac.compare_digest(one.public_key, public):
            try:
                return SUITE.decrypt(one.sealed, private, _context(one.computer))
            except InvalidTag as error:
                raise Tampered("key_file") from error
    raise Refused("computer")


def seal_object(shared: bytes, made: PinObject, nonce: bytes) -> bytes:
    """Encrypt the TPM's object under what the computers share."""
    return hierarchy.seal(_object_key(shared), msgspec.msgpack.encode(made), OBJECT_CONTEXT, nonce)


def open_object(shared: bytes, unlock: Unlock) -> PinObject:
    """Decrypt it; Tampered("key_file")."""
    plaintext = hierarchy.unseal(_object_key(shared), unlock.pin_object, OBJECT_CONTEXT, "key_file")
    return msgspec.msgpack.decode(plaintext, type=PinObject)


def pin_authorisation(salt: bytes, pin: str) -> bytes:
    """Give what authorises the object in the TPM, which counts wrong ones."""
    return derive(salt + pin.encode("ascii"), "unlock pin")


def _object_key(shared: bytes) -> bytes:
    return derive(shared, "unlock object")


def _private_key(secret: str) -> X25519PrivateKey:
    code = normalized(secret)
    return X25519PrivateKey.from_private_bytes(
        derive((code if _CODE.match(code) else secret).encode("utf-8", "surrogatepass"), "unlock computer")
    )


def _context(computer: str) -> bytes:
    return SEALED_CONTEXT + bytes.fromhex(computer)
