"""The page's keys and its certificate: a key is made here and never leaves; the certificate is brought.

    page.pem      the chain that is served, and its key (page.trial: until OpenSSL has taken it)
    next.key      the key of the present request, until its chain is taken; then it is a part of page.pem
    replaced.pem  certificates whose key was replaced, until the authority has revoked them

Rules: a chain is taken only if its first certificate is for the present key, this name and this time; page.pem is
replaced whole, and with it the old key is gone; TLS 1.3 only. No session tickets: a ticket would let who carries the
traffic recognise a browser. A challenge's certificate is served only to who asks for its protocol alone (RFC 8737).

Blocking reads and writes of a few kilobytes; the caller decides when. Sources: RFC 6125, RFC 8446 section 4.6.1.
"""

from __future__ import annotations

import contextlib
import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from appliance.contracts.gateway import MAX_CHAIN_BYTES
from appliance.core.errors import Tampered
from appliance.core.files import sync_folder, write_whole
from appliance.core.journal import say
from appliance.formats.acme import CHALLENGE_PROTOCOL
from appliance.formats.page_request import UNREADABLE, key_of_certificate, make_page_request, public_bytes
from appliance.gateway.challenge import Challenge
from appliance.gateway.tls_context import make_context

MAX_REPLACED = 8


class PageCertificate:
    """The page's keys in `state`, the chain that is served, and the TLS contexts made of them."""

    def __init__(self, host: str, state: Path, now: datetime.datetime) -> None:
        self.host = host
        self._page, self._trial = state / "page.pem", state / "page.trial"
        self._next, self._replaced = state / "next.key", state / "replaced.pem"
        self._context: ssl.SSLContext | None = None
        self._leaf: x509.Certificate | None = None
        self._challenge: Challenge | None = None
        self._serving = self._load_serving(now)
        self._waiting = self._load_waiting()

    def context(self, protocols: tuple[bytes, ...] = ()) -> ssl.SSLContext | None:
        """Give the TLS context of the moment for who offers these protocols (ALPN); None until there is a chain."""
        if protocols == (CHALLENGE_PROTOCOL,) and self._challenge is not None:
            return self._challenge.context()
        return self._context

    @property
    def key(self) -> bytes:
        """The public key (DER) that a certificate is wanted for."""
        return public_bytes(self._wanted.public_key())

    @property
    def leaf(self) -> x509.Certificate | None:
        """The certificate that is served."""
        return self._leaf

    @property
    def is_needed(self) -> bool:
        """True while no chain for the present key is served."""
        return self._waiting is not None or self._context is None

    def request(self) -> bytes:
        """Give the certificate request (DER) for the present key."""
        return make_page_request(self._wanted, self.host)

    def make_key(self) -> None:
        """Make the next key; nothing happens while one waits for its certificate."""
        if self._waiting is None:
            self._waiting = self._make_key()

    def take(self, chain: bytes, now: datetime.datetime) -> None:
        """Serve a chain from now on; Tampered("page_certificate") if it does not fit, and nothing has changed."""
        key, was = self._wanted, self._leaf
        certificates = check_chain(chain, self.host, key.public_key(), now)
        context = self._write_trial(certificates, key)
        if self._waiting is not None and was is not None:
            self._keep_replaced([was, *self.replaced(now)])
        self._trial.replace(self._page)
        sync_folder(self._page.parent)
        self._context, self._leaf, self._serving = context, certificates[0], key
        self._next.unlink(missing_ok=True)
        self._waiting = self._challenge = None
        say("page_certificate_taken")

    def replaced(self, now: datetime.datetime) -> list[x509.Certificate]:
        """Give the certificates that are to be revoked, of keys that are not served any more."""
        serving = self._serving and public_bytes(self._serving.public_key())
        with contextlib.suppress(FileNotFoundError, *UNREADABLE):
            kept = x509.load_pem_x509_certificates(self._replaced.read_bytes())
            return [one for one in kept if one.not_valid_after_utc > now and key_of_certificate(one) != serving]
        return []

    def note_revoked(self, now: datetime.datetime) -> None:
        """Forget the first of `replaced`."""
        self._keep_replaced(self.replaced(now)[1:])

    def answer_challenge(self, challenge: Challenge) -> None:
        """Serve a challenge's certificate, until its time is over or a chain is taken."""
        self._challenge = challenge

    @property
    def _wanted(self) -> ec.EllipticCurvePrivateKey:
        if self._waiting is None and self._serving is None:
            self._waiting = self._make_key()
        key = self._waiting or self._serving
        assert key is not None  # noqa: S101 (the line above made one)
        return key

    def _write_trial(self, certificates: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
        """Write what is to be page.pem beside it, as OpenSSL refuses some chains that parse."""
        pem = [one.public_bytes(Encoding.PEM) for one in certificates] + [_key_pem(key)]
        write_whole(self._trial, b"".join(pem), mode=0o600)
        try:
            return make_context(self._trial, self.host, ["http/1.1"])
        except ssl.SSLError as error:
            self._trial.unlink()
            raise Tampered("page_certificate") from error

    def _keep_replaced(self, certificates: list[x509.Certificate]) -> None:
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in certificates[:MAX_REPLACED])
        write_whole(self._replaced, pem, mode=0o600)

    def _make_key(self) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        write_whole(self._next, _key_pem(key), mode=0o600)
        return key

    def _load_serving(self, now: datetime.datetime) -> ec.EllipticCurvePrivateKey | None:
        if not self._page.exists():
            return None
        whole = self._page.read_bytes()
        key = _load_key(whole)
        try:
            self._leaf = check_chain(whole, self.host, key.public_key(), now)[0]
            self._context = make_context(self._page, self.host, ["http/1.1"])
        except (Tampered, ssl.SSLError):
            say("page_certificate_refused", priority="warning")
        return key

    def _load_waiting(self) -> ec.EllipticCurvePrivateKey | None:
        """Give the key that waits; one that is served already was left by a power cut."""
        if not self._next.exists():
            return None
        key = _load_key(self._next.read_bytes())
        if self._serving is not None and key.private_numbers() == self._serving.private_numbers():
            self._next.unlink()
            sync_folder(self._next.parent)
            return None
        return key


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    begin = pem.rfind(b"-----BEGIN PRIVATE KEY-----")
    try:
        key = load_pem_private_key(pem[max(begin, 0) :], password=None)
    except (ValueError, TypeError) as error:
        raise Tampered("page_key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Tampered("page_key")
    return key


def check_chain(
    chain: bytes, host: str, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> list[x509.Certificate]:
    """Give a PEM chain's certificates; Tampered unless the first is for this key, this name and this time."""
    if len(chain) > MAX_CHAIN_BYTES:
        raise Tampered("page_certificate")
    try:
        certificates = x509.load_pem_x509_certificates(chain)
        leaf = certificates[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        its_key = key_of_certificate(leaf)
    except (*UNREADABLE, x509.ExtensionNotFound) as error:
        raise Tampered("page_certificate") from error
    if its_key != public_bytes(key):
        raise Tampered("page_certificate")
    if host not in names.get_values_for_type(x509.DNSName):
        raise Tampered("page_certificate")
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        raise Tampered("page_certificate")
    return certificates
