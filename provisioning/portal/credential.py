"""TPM2_MakeCredential in software: a secret that only one TPM can read, and only for one of its keys.

The secret is encrypted under a seed that is encrypted to the endorsement key, and bound to the name of the other key:
TPM2_ActivateCredential gives it back where both are, and nowhere else. Source: TCG TPM 2.0 Library part 1, sections
11.4.10 (KDFa, KDFe), 24 (credential protection), B.10.4 and C.6.4 (the seed by RSA OAEP and by ECDH).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from appliance.formats.endorsement import EndorsementKey
from appliance.formats.tpm_structures import COORDINATE_BYTES, DIGEST_BYTES, sized

LABEL = b"IDENTITY\0"
AES_BYTES, IV_BYTES = 16, 16


@dataclass(frozen=True)
class Credential:
    """What ActivateCredential takes: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, without their sizes."""

    blob: bytes
    encrypted_seed: bytes


def make_credential(endorsement: EndorsementKey, name: bytes, secret: bytes, seed: bytes) -> Credential:
    """Encrypt `secret` for the key called `name` in the TPM with this endorsement key.

    `seed` is 32 random bytes for RSA; for ECC it is not looked at, the seed is drawn by an ephemeral key.
    """
    if isinstance(endorsement, ec.EllipticCurvePublicKey):
        seed, encrypted = _agreed_seed(endorsement)
    else:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), LABEL)
        encrypted = endorsement.encrypt(seed, oaep)
    return Credential(protect(seed, name, secret), encrypted)


def protect(seed: bytes, name: bytes, secret: bytes) -> bytes:
    """Give the credential's blob under a seed: the HMAC over it, then the encrypted secret."""
    key = kdfa(seed, b"STORAGE", name, AES_BYTES)
    encryptor = Cipher(AES(key), CFB(bytes(IV_BYTES))).encryptor()
    encrypted = encryptor.update(sized(secret)) + encryptor.finalize()
    tag = hmac.digest(kdfa(seed, b"INTEGRITY", b"", DIGEST_BYTES), encrypted + name, "sha256")
    return sized(tag) + encrypted


def kdfa(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """KDFa: SP 800-108 in counter mode with HMAC-SHA256; the zero byte of the label is the KDF's own separator."""
    return KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=size,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    ).derive(key)


def kdfe(shared: bytes, ephemeral_x: bytes, public_x: bytes) -> bytes:
    """KDFe for a seed: SP 800-56A's one-step KDF with SHA-256; an x coordinate of either side."""
    return ConcatKDFHash(hashes.SHA256(), DIGEST_BYTES, LABEL + ephemeral_x + public_x).derive(shared)


def _agreed_seed(endorsement: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    ephemeral = ec.generate_private_key(endorsement.curve)
    (x, y), (public_x, _) = _coordinates(ephemeral.public_key()), _coordinates(endorsement)
    seed = kdfe(ephemeral.exchange(ec.ECDH(), endorsement), x, public_x)
    return seed, sized(x) + sized(y)


def _coordinates(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    numbers = key.public_numbers()
    return numbers.x.to_bytes(COORDINATE_BYTES, "big"), numbers.y.to_bytes(COORDINATE_BYTES, "big")
