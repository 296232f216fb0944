"""The portal's own certificate: a private authority that boxes pin, and a leaf that it renews.

On first start, when the state folder has none, the portal makes an authority (P-256, ten years, constrained to the
portal's one name) and a leaf (90 days). `portal-ca.pem` is what a box is given at enrolment. The authority's key
stays in the state folder, `portal-ca.key`, because the leaf is renewed from it: who reads that folder can pose as
the portal towards the boxes. That wins no content (TLS of the patients ends in the box) and no session (a box's
proof names the certificate it was shown). A relay among several has no authority's key: it is brought the authority's
certificate, and a leaf with its key, and these anew in time.

Source: RFC 5280 4.2.1.9 (basic constraints), 4.2.1.10 (name constraints).
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.core.errors import Invalid
from provisioning.files import replace_file

AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
LEAF_LIFETIME = datetime.timedelta(days=90)
RENEW_BEFORE = datetime.timedelta(days=30)
CLOCK_SLACK = datetime.timedelta(days=1)


class PortalContext(ssl.SSLContext):
    """A server context that knows the certificate it shows."""

    certificate_sha256: bytes


class FrontCertificate:
    """The certificate that a front shows which ends the TLS of the portal's name; read again when its file changed.

    Raises Invalid "settings" for a file that is missing or no certificate.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed_at = -1
        self._sha256 = b""
        self.sha256()

    def sha256(self) -> bytes:
        """Give the SHA-256 of the first certificate in the file (DER)."""
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._changed_at:
                self._sha256 = x509.load_pem_x509_certificate(self._path.read_bytes()).fingerprint(hashes.SHA256())
                self._changed_at = changed_at
        except (OSError, ValueError) as error:
            raise Invalid("settings") from error
        return self._sha256


class Authority:
    """The keys and certificates in one state folder; made if absent."""

    def __init__(self, folder: Path, portal_name: str, now: datetime.datetime) -> None:
        self._folder = folder
        self._portal_name = portal_name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.authority_path.exists():
            self._make_authority(now)

    @property
    def authority_path(self) -> Path:
        """What boxes pin."""
        return self._folder / "portal-ca.pem"

    @property
    def makes_leaves(self) -> bool:
        """Say whether the authority's key is here; a relay among several has a leaf that was brought to it."""
        return (self._folder / "portal-ca.key").exists()

    def needs_renewal(self, now: datetime.datetime) -> bool:
        """Say whether there is no leaf for this name, or one near its end."""
        try:
            leaf = x509.load_pem_x509_certificate((self._folder / "portal.pem").read_bytes())
        except FileNotFoundError:
            return True
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if self._portal_name not in names.get_values_for_type(x509.DNSName):
            return True
        return leaf.not_valid_after_utc - now < RENEW_BEFORE

    def context(self, now: datetime.datetime) -> PortalContext:
        """Give a TLS 1.3 server context with a leaf that is not near its end."""
        if self.makes_leaves and self.needs_renewal(now):
            self._make_leaf(now)
        leaf_path = self._folder / "portal.pem"
        context = PortalContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # no box resumes a session; a ticket would cost each login a quarter more
        context.load_cert_chain(leaf_path, self._folder / "portal.key")
        leaf = x509.load_pem_x509_certificate(leaf_path.read_bytes())
        context.certificate_sha256 = leaf.fingerprint(hashes.SHA256())
        return context

    def _make_authority(self, now: datetime.datetime) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Praxissafe portal authority")])
        constraints = x509.NameConstraints(
            permitted_subtrees=[x509.DNSName(self._portal_name)], excluded_subtrees=None
        )
        certificate = (
            _certificate(name, name, key, now, AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(constraints, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self._write_pair("portal-ca", certificate, key)

    def _make_leaf(self, now: datetime.datetime) -> None:
        authority = x509.load_pem_x509_certificate(self.authority_path.read_bytes())
        authority_key = load_pem_private_key((self._folder / "portal-ca.key").read_bytes(), None)
        if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
            raise Invalid("portal_authority")
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Praxissafe portal")])
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        certificate = (
            _certificate(name, authority.subject, key, now, LEAF_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(self._portal_name)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(issuer_key, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        self._write_pair("portal", certificate, key)

    def _write_pair(self, stem: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Key first: a certificate without its key would stop the next start."""
        key_bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(self._folder / f"{stem}.key", key_bytes, mode=0o600)
        replace_file(self._folder / f"{stem}.pem", certificate.public_bytes(Encoding.PEM), mode=0o644)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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
