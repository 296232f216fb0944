"""Makes a release's boot policy, signs it for a holder, and tells what is signed. Pure computing: no TPM, no I/O.

What a holder signs follows from PCR 11 and the security epoch (appliance/formats/boot_policy.py); a draft that
somebody else made is therefore signed for what it says, and for nothing hidden. Format: docs/formats/boot-policy.md.
"""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from msgspec.structs import replace

from appliance.core.errors import Invalid
from appliance.formats.boot_policy import BootPolicy, ReleaseSignature, SignedBoot, holder_fingerprint, signed_bytes


def new_holder_key() -> ec.EllipticCurvePrivateKey:
    """Make a holder's key."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a holder's key (PKCS 8, PEM)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write what goes into the image."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_holder_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a holder's key; Invalid("holder_key")."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise Invalid("holder_key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("holder_key")
    return key


def draft(epoch: int, pcr11: list[str]) -> BootPolicy:
    """Make a release's policy without signatures; `pcr11` as systemd-measure(1) gives it. Invalid("boot_policy")."""
    try:
        made = {"epoch": epoch, "boots": [{"pcr11": value} for value in dict.fromkeys(pcr11)]}
        return msgspec.convert(made, BootPolicy)
    except msgspec.ValidationError as error:
        raise Invalid("boot_policy") from error


def sign(policy: BootPolicy, key: ec.EllipticCurvePrivateKey) -> BootPolicy:
    """Put a holder's signature on every boot, in place of an earlier one of the same holder."""
    holder = holder_fingerprint(_der(key)).hex()
    boots = []
    for boot in policy.boots:
        signature = key.sign(signed_bytes(bytes.fromhex(boot.pcr11), policy.epoch), ec.ECDSA(SHA256()))
        others = [other for other in boot.signatures if other.holder != holder]
        boots.append(
            SignedBoot(pcr11=boot.pcr11, signatures=[*others, ReleaseSignature(holder=holder, signature=signature)])
        )
    return replace(policy, boots=boots)


def unsigned(policy: BootPolicy, release_keys: list[bytes]) -> list[str]:
    """Give PCR 11 of each boot that lacks a valid signature of one of the holders: none, and the release opens."""
    return [
        boot.pcr11
        for boot in policy.boots
        if not all(_verifies(policy, bytes.fromhex(boot.pcr11), key) for key in release_keys)
    ]


def _verifies(policy: BootPolicy, pcr11: bytes, key: bytes) -> bool:
    signature = policy.signature(pcr11, holder_fingerprint(key))
    public = load_der_public_key(key)
    if signature is None or not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    try:
        public.verify(signature, signed_bytes(pcr11, policy.epoch), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
