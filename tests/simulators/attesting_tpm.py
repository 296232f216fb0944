"""A TPM that attests, in Python: fast enough for a thousand boxes, and it also lies when told to.

It says what TPM2_ReadPublic, ActivateCredential, Certify and Quote say; tests/vault/test_attestation.py holds it and the
real one (swtpm) to the same judgement.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from appliance.core.errors import Tampered
from appliance.formats import tpm_structures as tpm
from appliance.formats.attestation import (
    ATTESTATION_ATTRIBUTES,
    DEVICE_ATTRIBUTES,
    QUOTED_PCRS,
    Evidence,
    Identity,
    Question,
)
from provisioning.portal.credential import LABEL, kdfa, kdfe
from tests.simulators.tpm_maker import HandMaker

PCRS = [hashlib.sha256(b"secure boot").digest(), hashlib.sha256(b"image").digest(), bytes(32)]
#: One maker for all tests of a process.
MAKER = HandMaker()


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class AttestingTpm:
    """A chip with its keys; `pcrs` are 7, 11 and 12."""

    maker: HandMaker = field(default_factory=lambda: MAKER)
    endorsement: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(default_factory=_new_key)
    attestation: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    device: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)
    pcrs: list[bytes] = field(default_factory=lambda: list(PCRS))
    attestation_attributes: int = ATTESTATION_ATTRIBUTES
    device_attributes: int = DEVICE_ATTRIBUTES
    clock: tpm.Clock = field(default_factory=lambda: tpm.Clock(1000, 3, 4, safe=True))
    firmware: int = 0x0001000200030004
    certificate: bytes = b""

    def __post_init__(self) -> None:
        self.certificate = self.certificate or self.maker.sign(self.endorsement.public_key())

    @property
    def attestation_area(self) -> tpm.SigningKey:
        return area(self.attestation.public_key(), self.attestation_attributes)

    @property
    def device_area(self) -> tpm.SigningKey:
        return area(self.device.public_key(), self.device_attributes)

    def identify(self) -> Identity:
        return Identity(
            endorsement_certificate=self.certificate,
            attestation_key=self.attestation_area.encode(),
            device_key=self.device_area.encode(),
        )

    def prove(self, question: Question, qualifying: bytes) -> Evidence:
        certified = tpm.Certified(self.device_area.name, b"\0\x0b" + bytes(32))
        quoted = tpm.Quoted(QUOTED_PCRS, hashlib.sha256(b"".join(self.pcrs)).digest())
        certification, certification_signature = self.state(certified, qualifying)
        quote, quote_signature = self.state(quoted, qualifying)
        return Evidence(
            secret=self.activate(question),
            certification=certification,
            certification_signature=certification_signature,
            quote=quote,
            quote_signature=quote_signature,
            pcrs=self.pcrs,
        )

    def state(self, statement: tpm.Certified | tpm.Quoted, qualifying: bytes) -> tuple[bytes, bytes]:
        """Give a statement and its signature."""
        signer = b"\0\x0b" + hashlib.sha256(self.attestation_area.name).digest()
        data = tpm.Attestation(signer, qualifying, self.clock, self.firmware, statement).encode()
        return data, signature(self.attestation, data)

    def activate(self, question: Question) -> bytes:
        """TPM2_ActivateCredential; Tampered("credential")."""
        name, blob = self.attestation_area.name, question.credential
        tag, encrypted = blob[2:34], blob[34:]
        seed = self._seed(question.encrypted_seed)
        expected = hmac.digest(kdfa(seed, b"INTEGRITY", b"", 32), encrypted + name, "sha256")
        if not hmac.compare_digest(tag, expected):
            raise Tampered("credential")
        decryptor = Cipher(AES(kdfa(seed, b"STORAGE", name, 16)), CFB(bytes(16))).decryptor()
        return decryptor.update(encrypted)[2:]

    def _seed(self, encrypted: bytes) -> bytes:
        if isinstance(self.endorsement, rsa.RSAPrivateKey):
            try:
                oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), LABEL)
                return self.endorsement.decrypt(encrypted, oaep)
            except ValueError:
                return secrets.token_bytes(32)
        x, y = (int.from_bytes(encrypted[start : start + 32], "big") for start in (2, 36))
        try:
            point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        except ValueError as error:
            raise Tampered("credential") from error
        own = self.endorsement.public_key().public_numbers().x.to_bytes(32, "big")
        return kdfe(self.endorsement.exchange(ec.ECDH(), point), encrypted[2:34], own)


def area(key: ec.EllipticCurvePublicKey, attributes: int) -> tpm.SigningKey:
    """Give a key's public area."""
    numbers = key.public_numbers()
    return tpm.SigningKey(attributes, b"", numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))


def signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Give a TPMT_SIGNATURE: ECDSA with SHA-256."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    numbers = b"".join(tpm.sized(number.to_bytes(32, "big")) for number in (r, s))
    return tpm.ALG_ECDSA.to_bytes(2, "big") + tpm.ALG_SHA256.to_bytes(2, "big") + numbers
