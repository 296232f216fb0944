"""The TLS of the bench: a self-signed certificate made in memory at every start, TLS 1.3 only.

There is nobody to vouch for a box that has no identity yet: what counts is the fingerprint, which the journal says
and the station pins (docs/formats/enrolment.md). So the certificate's dates mean nothing, and a box whose clock is
wrong can be enrolled.
"""

from __future__ import annotations

import datetime
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.core.journal import say

NAME = "praxissafe-bench.invalid"
NOT_BEFORE = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)  # "no end", RFC 5280 4.1.2.5


class BenchContext(ssl.SSLContext):
    """A server context that knows the fingerprint of the certificate it shows."""

    certificate_sha256: bytes

    def say(self) -> None:
        """Write the fingerprint to the journal: two halves of 32 digits, each behind an x."""
        digits = self.certificate_sha256.hex()
        say("bench_certificate", priority="notice", first=f"x{digits[:32]}", last=f"x{digits[32:]}")


def make_bench_context() -> BenchContext:
    """Make key and certificate, and give the context; neither is ever in a file system."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, SHA256())
    )
    context = BenchContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.certificate_sha256 = certificate.fingerprint(SHA256())
    # load_cert_chain takes file names and nothing else: two pipes, filled already (each holds 64 KiB, pipe(7)).
    certificate_pipe = _filled_pipe(certificate.public_bytes(Encoding.PEM))
    key_pipe = _filled_pipe(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    try:
        context.load_cert_chain(f"/proc/self/fd/{certificate_pipe}", f"/proc/self/fd/{key_pipe}")
    finally:
        os.close(certificate_pipe)
        os.close(key_pipe)
    return context


def _filled_pipe(data: bytes) -> int:
    """Give a pipe's reading end with these few bytes and their end in it; the caller closes it."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(data)
    return reading
