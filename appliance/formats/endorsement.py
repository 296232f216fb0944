"""The endorsement key: what its maker's certificate says, and how a TPM makes the key again. Pure.

A TPM has one endorsement seed for life, so the key under the standard template is always the same, and its maker has
signed it: whoever proves to hold it is this chip. The certificate is read here; whether a maker that we know has
signed it, provisioning/portal/makers.py finds out.

Source: TCG EK Credential Profile for TPM Family 2.0, version 2.5: sections 2.2.1 (NV indices), 3.2 (certificate), B.3
(templates L-1: RSA 2048, L-2: ECC P-256).
"""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.core.errors import Invalid
from appliance.formats import tpm_structures as tpm

MAX_CERTIFICATE_BYTES = 4096
MAX_CHAIN_BYTES = 12 * 1024
MAX_CHAIN_CERTIFICATES = 6
RSA_BITS = 2048
MAX_MAKER_CHARACTERS = 64

#: TPM2_PolicySecret(TPM_RH_ENDORSEMENT): whoever may use the endorsement hierarchy may use the key.
POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
_ATTRIBUTES = (
    tpm.FIXED_TPM
    | tpm.FIXED_PARENT
    | tpm.SENSITIVE_DATA_ORIGIN
    | tpm.ADMIN_WITH_POLICY
    | tpm.RESTRICTED
    | tpm.DECRYPT
)
_OID_MANUFACTURER = x509.ObjectIdentifier("2.23.133.2.1")
_OID_MODEL = x509.ObjectIdentifier("2.23.133.2.2")
_SPEAKABLE = frozenset(string.ascii_letters + string.digits + " .-_")
EndorsementKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def _template(kind: int, parameters: tuple[int, ...], exponent: bytes, unique: bytes) -> bytes:
    head = kind.to_bytes(2, "big") + tpm.ALG_SHA256.to_bytes(2, "big") + _ATTRIBUTES.to_bytes(4, "big")
    symmetric = (tpm.ALG_AES, 128, tpm.ALG_CFB)
    return (
        head
        + tpm.sized(POLICY)
        + b"".join(value.to_bytes(2, "big") for value in (*symmetric, *parameters))
        + exponent
        + unique
    )


#: Where the certificate lies in the TPM -> the template that its key is made from (TPMT_PUBLIC).
TEMPLATES = {
    0x01C0000A: _template(
        tpm.ALG_ECC, (tpm.ALG_NULL, tpm.CURVE_P256, tpm.ALG_NULL), b"", tpm.sized(bytes(32)) + tpm.sized(bytes(32))
    ),
    0x01C00002: _template(tpm.ALG_RSA, (tpm.ALG_NULL, RSA_BITS), bytes(4), tpm.sized(bytes(256))),
}
#: Where a maker leaves what its certificate leads through: certificates (DER) one after the other, over the indices.
CHAIN_INDICES = range(0x01C00100, 0x01C00200)


@dataclass(frozen=True)
class Endorsement:
    """An endorsement certificate as its maker wrote it; nobody has said yet that the maker is one."""

    certificate: x509.Certificate
    key: EndorsementKey

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the key (SubjectPublicKeyInfo, DER): one for each chip."""
        return hashlib.sha256(self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()

    @property
    def maker(self) -> str:
        """Maker and model for people, such as "IFX SLB9672"; signs but letters, digits and .-_ are left out."""
        manufacturer, model = _facts(self.certificate)
        if manufacturer.startswith("id:") and len(manufacturer) == 11:
            try:
                manufacturer = bytes.fromhex(manufacturer[3:]).decode("ascii").rstrip("\0 ")
            except ValueError:
                manufacturer = manufacturer[3:]
        spoken = "".join(letter if letter in _SPEAKABLE else "" for letter in f"{manufacturer} {model}")
        return " ".join(spoken.split())[:MAX_MAKER_CHARACTERS] or "TPM"


def read_endorsement(der: bytes) -> Endorsement:
    """Read a certificate; Invalid("endorsement_certificate") if it is none, or not of a key by our templates."""
    certificate = _certificate(der)
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("endorsement_certificate") from error
    is_p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    is_rsa = isinstance(key, rsa.RSAPublicKey) and key.key_size == RSA_BITS and key.public_numbers().e == 65537
    if not isinstance(key, EndorsementKey) or not (is_p256 or is_rsa):
        raise Invalid("endorsement_certificate")
    return Endorsement(certificate, key)


def read_chain(data: bytes) -> list[x509.Certificate]:
    """Read certificates (DER) that stand one after the other; Invalid("endorsement_certificate")."""
    if len(data) > MAX_CHAIN_BYTES:
        raise Invalid("endorsement_certificate")
    certificates: list[x509.Certificate] = []
    while data:
        size = der_length(data)
        if size is None or len(certificates) == MAX_CHAIN_CERTIFICATES:
            raise Invalid("endorsement_certificate")
        certificates.append(_certificate(data[:size]))
        data = data[size:]
    return certificates


def der_length(data: bytes) -> int | None:
    """Give how many bytes the DER sequence at the front has (X.690, 8.1.3); None if it is none, or cut.

    A maker may leave more room than its certificate needs, filled with anything.
    """
    if len(data) < 4 or data[0] != 0x30 or data[1] not in (0x81, 0x82):
        return None
    count = data[1] - 0x80
    size = 2 + count + int.from_bytes(data[2 : 2 + count], "big")
    return size if size <= len(data) else None


def _certificate(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise Invalid("endorsement_certificate")
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise Invalid("endorsement_certificate") from error


def _facts(certificate: x509.Certificate) -> tuple[str, str]:
    """Give manufacturer and model from the subject alternative name (profile, 3.2.9); "" for what is not there."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return "", ""
    found = {
        attribute.oid: str(attribute.value)
        for name in names.get_values_for_type(x509.DirectoryName)
        for attribute in name
    }
    return found.get(_OID_MANUFACTURER, ""), found.get(_OID_MODEL, "")
