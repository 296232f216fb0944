"""The certificate for the practice network: made here at the first start, by an authority that exists for a moment.

The authority may sign for this one host only (name constraints, RFC 5280 4.2.1.10) and its private key is thrown away
as soon as it has signed: whoever trusts lan-ca.pem trusts this box's page and nothing else. 820 days: Apple's devices
refuse longer ones (support.apple.com/103769). Files: lan-ca.pem, lan.pem, lan.key (0600). The folder is the caller's.
"""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.core.files import write_whole

VALIDITY = datetime.timedelta(days=820)
#: A certificate with less time left than this is replaced at the next start.
RENEW_BEFORE = datetime.timedelta(days=30)
CLOCK_SKEW = datetime.timedelta(days=1)
COMMON_NAME_CHARACTERS = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True)
class LanCertificate:
    """Where the three files lie, what staff compare (SHA-256 of the authority) and until when it is valid."""

    authority: Path
    chain: Path
    key: Path
    fingerprint: str
    expires_at: int

    def context(self) -> ssl.SSLContext:
        """Make the server's TLS context: TLS 1.3 only, HTTP/1.1, no tickets."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.chain, self.key)
        return context


def keep_certificate(folder: Path, host: str, now: datetime.datetime) -> LanCertificate:
    """Give the certificate in `folder`; make a new one if there is none for `host`, it ends soon, or is damaged."""
    authority, chain, key = (folder / name for name in ("lan-ca.pem", "lan.pem", "lan.key"))
    leaf = _read_leaf(chain, key, host)
    if leaf is None or leaf.not_valid_after_utc - now < RENEW_BEFORE or not authority.exists():
        _make(authority, chain, key, host, now)
    return _described(authority, chain, key)


def stored_certificate(folder: Path) -> LanCertificate | None:
    """Give the certificate in `folder` as it is, or None: for a page that may not ask which host this is."""
    authority, chain, key = (folder / name for name in ("lan-ca.pem", "lan.pem", "lan.key"))
    leaf = _read_leaf(chain, key, None)
    if leaf is None or not authority.exists():
        return None
    return _described(authority, chain, key)


def _described(authority: Path, chain: Path, key: Path) -> LanCertificate:
    made = x509.load_pem_x509_certificate(authority.read_bytes())
    return LanCertificate(
        authority, chain, key, made.fingerprint(SHA256()).hex(":").upper(), int(made.not_valid_after_utc.timestamp())
    )


def _read_leaf(chain: Path, key: Path, host: str | None) -> x509.Certificate | None:
    """Give the stored certificate if it belongs to the stored key and to `host` (None: to whichever it names)."""
    try:
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
        stored = load_pem_private_key(key.read_bytes(), password=None)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        its_key, spki = leaf.public_key(), PublicFormat.SubjectPublicKeyInfo
        same = stored.public_key().public_bytes(Encoding.DER, spki) == its_key.public_bytes(Encoding.DER, spki)
    except (OSError, ValueError, TypeError, IndexError, x509.ExtensionNotFound):
        return None
    return leaf if same and (host is None or names.get_values_for_type(x509.DNSName) == [host]) else None


def _make(authority: Path, chain: Path, key: Path, host: str, now: datetime.datetime) -> None:
    authority_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = (
        _builder(f"Praxissafe {host}", authority_key.public_key(), now)
        .issuer_name(_name(f"Praxissafe {host}"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.NameConstraints([x509.DNSName(host)], None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority_key, SHA256())
    )
    leaf = (
        _builder(host, leaf_key.public_key(), now)
        .issuer_name(root.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, SHA256())
    )
    private = leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # The chain last: a start in between finds a key without its certificate and makes all three anew.
    write_whole(authority, root.public_bytes(Encoding.PEM), mode=0o644)
    write_whole(key, private, mode=0o600)
    write_whole(chain, leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM), mode=0o644)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:COMMON_NAME_CHARACTERS])])


def _builder(subject: str, key: ec.EllipticCurvePublicKey, now: datetime.datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now - CLOCK_SKEW + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
