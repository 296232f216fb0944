"""The page's certificate request: one name, one key on P-256, nothing else. gateway makes it, vault checks it. Pure.

Sources: RFC 2986 (PKCS #10), RFC 5280 section 4.2.1.6 (subject alternative name), RFC 8555 section 7.4.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from appliance.core.errors import Invalid

#: What reading a stranger's key, request or certificate raises, at its first byte or at a member that is looked at.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """Give SubjectPublicKeyInfo, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_page_key(encoded: bytes) -> None:
    """Check that bytes are SubjectPublicKeyInfo of a point on P-256, in the one encoding; Invalid("page_key")."""
    try:
        key = load_der_public_key(encoded)
    except UNREADABLE as error:
        raise Invalid("page_key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("page_key")
    if public_bytes(key) != encoded:
        raise Invalid("page_key")


def key_of_certificate(certificate: x509.Certificate) -> bytes | None:
    """Give the public key (DER) of a certificate; None for a key of another kind. Raises what UNREADABLE names."""
    key = certificate.public_key()
    return public_bytes(key) if isinstance(key, ec.EllipticCurvePublicKey) else None


def make_page_request(key: ec.EllipticCurvePrivateKey, host: str) -> bytes:
    """Give the request (DER): no subject, `host` as the one alternative name."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(Encoding.DER)


def key_of_page_request(encoded: bytes, host: str) -> bytes:
    """Give the public key (DER) that a request is for; Invalid("page_request") unless it asks for `host` alone.

    A subject, another extension, another kind of name, a wrong signature or bytes behind it are all refused.
    """
    try:
        request = x509.load_der_x509_csr(encoded)
        key = request.public_key()
        extensions = list(request.extensions)
        is_signed = request.is_signature_valid
    except UNREADABLE as error:
        raise Invalid("page_request") from error
    if not is_signed or len(request.subject.rdns) or len(extensions) != 1 or len(request.attributes) != 1:
        raise Invalid("page_request")
    names = extensions[0].value
    if not isinstance(names, x509.SubjectAlternativeName) or list(names) != [x509.DNSName(host)]:
        raise Invalid("page_request")
    if not isinstance(key, ec.EllipticCurvePublicKey) or request.public_bytes(Encoding.DER) != encoded:
        raise Invalid("page_request")
    return public_bytes(key)
