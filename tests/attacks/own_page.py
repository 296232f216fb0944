"""A key and certificate of a hostile portal's own, for the name of a box."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.simulators.patient_side import Authority


def page_context(folder: Path, host: str, authority: Authority | None) -> ssl.SSLContext:
    """TLS with a key of the portal's own, certified for `host` by an authority, or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    alternative = x509.SubjectAlternativeName([x509.DNSName(host)])
    if authority is None:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        chain = (
            builder.add_extension(alternative, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        )
    else:
        request = (
            x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(alternative, critical=False)
        )
        chain = authority.sign(request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))
    pem = folder / "own.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + chain)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
