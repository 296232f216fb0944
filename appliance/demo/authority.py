"""The demo's certificate authority: signs the page certificate of this one box, as a public authority would.

`python -m appliance.demo.authority REQUEST CERTIFICATE FOLDER` reads gateway's request (PEM, PKCS #10), checks it,
writes the chain, and ends; demo-authority.path starts it when a request appears.

Keeps: the authority is constrained to `localhost` names; the first name it signs is the only one it ever signs; a
leaf lives 7 days; a request asks for nothing but one name. Does not: prove control of the name (a public
authority does that by ACME).
Source: RFC 2986 (PKCS #10), RFC 5280 4.2.1.10 (name constraints).
"""

from __future__ import annotations

import datetime
import os
import re
import sys
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

from appliance.core.errors import Invalid, Refused

PAGE_HOST = re.compile(r"praxis-[0-9a-f]{8}\.localhost\Z")
AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
LEAF_LIFETIME = datetime.timedelta(days=7)
CLOCK_SLACK = datetime.timedelta(hours=1)
MAX_REQUEST_BYTES = 8 * 1024


def host_of(request: x509.CertificateSigningRequest) -> str:
    """Give the one host name a request asks for. Raises Invalid("request") for anything else."""
    key = request.public_key()
    if not request.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise Invalid("request")
    if [extension.oid for extension in request.extensions] != [x509.SubjectAlternativeName.oid]:
        raise Invalid("request")
    names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    if len(names) != 1 or not isinstance(names[0], x509.DNSName) or not PAGE_HOST.match(names[0].value):
        raise Invalid("request")
    subject = [attribute.value for attribute in request.subject]
    if subject not in ([], [names[0].value]):
        raise Invalid("request")
    return names[0].value


class Authority:
    """The authority's key and certificate in one folder; made at first use."""

    def __init__(self, folder: Path, now: datetime.datetime) -> None:
        self._folder = folder
        self._now = now
        if not (folder / "authority.pem").exists():
            self._make()
        key = load_pem_private_key((folder / "authority.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Invalid("authority")
        self._key = key
        self._certificate = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())

    def sign(self, request: x509.CertificateSigningRequest) -> bytes:
        """Give the chain as PEM. Raises Refused("host") for another host than the first one signed."""
        host = host_of(request)
        pinned = self._folder / "host"
        if not pinned.exists():
            replace_file(pinned, host.encode(), 0o600)
        if pinned.read_text() != host:
            raise Refused("host")
        leaf = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
            .issuer_name(self._certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - CLOCK_SLACK)
            .not_valid_after(self._now + LEAF_LIFETIME)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return leaf.public_bytes(Encoding.PEM) + self._certificate.public_bytes(Encoding.PEM)

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Praxissafe demo authority")])
        only = x509.NameConstraints(permitted_subtrees=[x509.DNSName("localhost")], excluded_subtrees=None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - CLOCK_SLACK)
            .not_valid_after(self._now + AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(only, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        key_bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(self._folder / "authority.key", key_bytes, 0o600)
        replace_file(self._folder / "authority.pem", certificate.public_bytes(Encoding.PEM), 0o644)


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


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write `content` so that a reader finds the old bytes or the new ones."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def main(request_path: Path, certificate_path: Path, folder: Path) -> None:
    """Answer the request that lies there, again if it was replaced meanwhile."""
    answered = None
    while True:
        with request_path.open("rb") as file:
            raw = file.read(MAX_REQUEST_BYTES)
        if raw == answered:
            return
        request = x509.load_pem_x509_csr(raw)
        replace_file(certificate_path, Authority(folder, datetime.datetime.now(datetime.UTC)).sign(request), 0o644)
        answered = raw


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
