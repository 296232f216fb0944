"""The answer to an authority's challenge TLS-ALPN-01: a certificate that nobody trusts, for some minutes.

Rules: its key is made for it alone and its file is gone as soon as it is loaded; the name is this box's, and what it
carries is the key authorisation of this box's account, as vault says. Source: RFC 8737 section 3.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance.core.files import write_whole
from appliance.formats.acme import CHALLENGE_PROTOCOL
from appliance.gateway.tls_context import make_context

LIFETIME_S = 600.0
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
OCTET_STRING_OF_32 = b"\x04\x20"


class Challenge:
    """One answer; `clock` counts seconds."""

    def __init__(self, context: ssl.SSLContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._ends_at = clock() + LIFETIME_S

    def context(self) -> ssl.SSLContext | None:
        """Give the TLS context; None when its time is over."""
        return self._context if self._clock() < self._ends_at else None


def make_challenge(host: str, digest: bytes, state: Path, now: datetime.datetime) -> Challenge:
    """Make the answer for `host`; `digest` is SHA-256 of the key authorisation."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=True)
        .add_extension(x509.UnrecognizedExtension(ACME_IDENTIFIER, OCTET_STRING_OF_32 + digest), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = state / "challenge.pem"
    pem = certificate.public_bytes(Encoding.PEM)
    write_whole(file, pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    try:
        return Challenge(make_context(file, host, [CHALLENGE_PROTOCOL.decode("ascii")]))
    finally:
        file.unlink()
