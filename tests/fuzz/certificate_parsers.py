"""What vault, gateway and certificate read of strangers: requests, certificates, an authority's words.

What is taken is taken in its one encoding, for this host; anything else is a named failure.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.certificate.acme import Authorization, Directory, Order, decode, failure
from appliance.certificate.dial import Answer
from appliance.certificate.schedule import MAX_RETRY_AFTER_S, retry_after_s
from appliance.core.errors import Invalid, Tampered, Unavailable
from appliance.formats.acme import origin_of
from appliance.formats.page_request import (
    UNREADABLE,
    check_page_key,
    key_of_certificate,
    key_of_page_request,
    make_page_request,
    public_bytes,
)
from appliance.gateway.page_certificate import check_chain

HOST = "praxis-0a0b0c0d.localhost"
KEY = ec.derive_private_key(7, ec.SECP256R1())
NOW = datetime.datetime.now(datetime.UTC)


def page_request(data: bytes) -> None:
    """A request that is taken names the host alone, is signed by its key, and has one encoding."""
    try:
        key = key_of_page_request(data, HOST)
    except Invalid:
        return
    request = x509.load_der_x509_csr(data)
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.DNSName(HOST)]
    assert request.is_signature_valid
    assert request.public_bytes(Encoding.DER) == data
    found = request.public_key()
    assert isinstance(found, ec.EllipticCurvePublicKey)
    assert public_bytes(found) == key


def page_revocation(data: bytes) -> None:
    """A certificate whose key can be named, or not."""
    with contextlib.suppress(*UNREADABLE):
        key_of_certificate(x509.load_der_x509_certificate(data))


def page_key(data: bytes) -> None:
    """What is taken is a point on P-256."""
    try:
        check_page_key(data)
    except Invalid:
        return
    assert len(data) == len(public_bytes(KEY.public_key()))


def page_chain(data: bytes) -> None:
    """A chain that is taken begins with a certificate for the key."""
    try:
        certificates = check_chain(data, HOST, KEY.public_key(), NOW)
    except Tampered:
        return
    assert certificates[0].public_key() == KEY.public_key()


def authority_answer(data: bytes) -> None:
    """Whatever an authority says is a structure or a named failure; a wait is never negative or for ever."""
    text = data[:64].decode("latin-1")
    answer = Answer(400 + len(data) % 200, data, "", "", text)
    for kind in (Directory, Order, Authorization):
        with contextlib.suppress(Unavailable):
            decode(answer, kind)
    assert failure(answer, "order_refused").code
    assert 0 <= retry_after_s(text, 0.0) <= MAX_RETRY_AFTER_S
    try:
        origin = origin_of(text)
    except Invalid:
        return
    assert origin_of(origin + "/a") == origin


def _wider_request() -> bytes:
    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("other.example")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def _chain() -> bytes:
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(hours=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=True)
        .sign(KEY, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


_REQUEST = make_page_request(KEY, HOST)


def page_certificate(data: bytes) -> None:
    """All of them in one process, as loading it takes longer than they do."""
    for parse in (page_request, page_key, page_revocation, page_chain, authority_answer):
        parse(data)


TARGETS: dict[str, Callable[[bytes], None]] = {"page_certificate": page_certificate}
SEEDS: dict[str, list[bytes]] = {
    "page_certificate": [
        _REQUEST,
        _wider_request(),
        public_bytes(KEY.public_key()),
        _chain(),
        x509.load_pem_x509_certificate(_chain()).public_bytes(Encoding.DER),
        b'{"newNonce":"https://a/n","newAccount":"https://a/c","newOrder":"https://a/o","revokeCert":"https://a/r",'
        b'"meta":{"profiles":{"shortlived":"6 days"}}}',
        b'{"status":"pending","finalize":"https://a/f","authorizations":["https://a/z"]}',
        b'{"status":"invalid","challenges":[{"type":"tls-alpn-01","token":"t","error":{"type":"urn:ietf:params:acme:error:dns"}}]}',
        b'{"type":"urn:ietf:params:acme:error:badNonce","detail":"again"}',
        b"Thu, 01 Jan 1970 00:02:00 GMT",
        b"https://authority.example:14000/dir",
    ],
}
