"""The page's key and certificate: the key is made here and never leaves; the certificate is waited for.

gateway writes a certificate request for its host name; whoever is the authority puts the chain where gateway looks.
Rules: a chain is taken only if its first certificate is for this key, this name and this time; it is then copied to
the state folder, so that a restart has it at once; TLS 1.3 only. No session tickets: a ticket would let who carries
the traffic recognise a browser.

Blocking reads of a few kilobytes; the caller decides when. Sources: RFC 2986, RFC 6125, RFC 8446 section 4.6.1.
"""

from __future__ import annotations

import asyncio
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
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from appliance.core.errors import Tampered
from appliance.core.files import write_whole
from appliance.core.journal import say

MAX_CHAIN_BYTES = 64 * 1024
MAX_COMMON_NAME = 64
FIRST_LOOK_S = 1.0
LATER_LOOK_S = 5.0
#: SSL_OP_CLEANSE_PLAINTEXT: a record's plaintext is overwritten once it was read (SSL_CTX_set_options(3ossl)).
OP_CLEANSE_PLAINTEXT = 1 << 1


class PageCertificate:
    """The key in `state`, the chain that fits it, and the TLS context made of both."""

    def __init__(self, host: str, state: Path, request: Path, offered: Path) -> None:
        self._host = host
        self._key_file = state / "page.key"
        self._chain_file = state / "page.pem"
        self._request = request
        self._offered = offered
        self._seen: tuple[int, int, int] | None = None
        self._context: ssl.SSLContext | None = None
        self._key = self._load_or_make_key()

    def context(self, protocols: tuple[bytes, ...] = ()) -> ssl.SSLContext | None:
        """Give the TLS context of the moment for the offered protocols; None until a certificate was found."""
        return self._context

    def write_request(self) -> None:
        """Write the certificate request (PEM) for whoever is the authority."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._host)] * (len(self._host) <= MAX_COMMON_NAME))
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(name)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(self._host)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        write_whole(self._request, request.public_bytes(Encoding.PEM), mode=0o644)

    def look(self, now: datetime.datetime) -> bool:
        """Look for a new chain and take it if it fits; say whether there is a context now."""
        if self._context is None and self._chain_file.exists():
            self._take(self._chain_file.read_bytes(), now)
        seen = _state_of(self._offered)
        if seen is not None and seen != self._seen:
            self._seen = seen
            with self._offered.open("rb") as file:
                self._take(file.read(MAX_CHAIN_BYTES + 1), now)
        return self._context is not None

    async def watch(self) -> None:
        """Look each second until there is a certificate, then every few seconds for a renewed one; never returns."""
        while True:
            found = self.look(datetime.datetime.now(datetime.UTC))
            await asyncio.sleep(LATER_LOOK_S if found else FIRST_LOOK_S)

    def _take(self, chain: bytes, now: datetime.datetime) -> None:
        try:
            check_chain(chain, self._host, self._key.public_key(), now)
            write_whole(self._chain_file, chain, mode=0o600)
            self._context = make_context(self._chain_file, self._key_file, self._host)
        except (Tampered, ssl.SSLError):
            say("page_certificate_refused", priority="warning")
            return
        say("page_certificate_taken")

    def _load_or_make_key(self) -> ec.EllipticCurvePrivateKey:
        if not self._key_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            write_whole(
                self._key_file,
                key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                mode=0o600,
            )
        loaded = load_pem_private_key(self._key_file.read_bytes(), password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise Tampered("page_key")
        return loaded


def check_chain(chain: bytes, host: str, key: ec.EllipticCurvePublicKey, now: datetime.datetime) -> None:
    """Check that the first certificate of a PEM chain is for this key, this name and this time; Tampered if not."""
    if len(chain) > MAX_CHAIN_BYTES:
        raise Tampered("page_certificate")
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        its_key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise Tampered("page_certificate") from error
    if its_key != key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise Tampered("page_certificate")
    if host not in names.get_values_for_type(x509.DNSName):
        raise Tampered("page_certificate")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise Tampered("page_certificate")


def make_context(chain_file: Path, key_file: Path, host: str) -> ssl.SSLContext:
    """Make the server's TLS context: TLS 1.3 only, HTTP/1.1, no tickets, no other name than `host`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.options |= OP_CLEANSE_PLAINTEXT
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(chain_file, key_file)

    def check_name(_: ssl.SSLObject | ssl.SSLSocket, name: str | None, __: ssl.SSLContext) -> int | None:
        return None if name == host else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = check_name
    return context


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
