from __future__ import annotations

import datetime
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.core.errors import Tampered
from appliance.formats.page_request import key_of_page_request, make_page_request
from appliance.gateway.challenge import LIFETIME_S, Challenge, make_challenge
from appliance.gateway.page_certificate import PageCertificate
from tests.simulators.patient_side import Authority, certified_page

HOST = "praxis-1.example"
NOW = datetime.datetime.now(datetime.UTC)
CHALLENGE = (b"acme-tls/1",)
#: Of an RSA key of 512 bits: it parses, and OpenSSL refuses a chain with it.
WEAK = b"""-----BEGIN CERTIFICATE-----
MIIBdzCCASGgAwIBAgIUIG3mSewAVN9IcZ2PvTgrP9oJHVgwDQYJKoZIhvcNAQEF
BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjEyMDEwNjMwMjZaGA8yMTI2MTEwNzA2
MzAyNlowDzENMAsGA1UEAwwEd2VhazBcMA0GCSqGSIb3DQEBAQUAA0sAMEgCQQDQ
rgTuYfwlZVLwM41hyMLf4mx1CXUML4ID8RBABM4jgdXWBUdQw+VjsTxdjI01zOcf
U6+UbsmKTsHy/L9lzaY9AgMBAAGjUzBRMB0GA1UdDgQWBBS2s5Io+LjcOaaLvy1s
/1WVnSzI1zAfBgNVHSMEGDAWgBS2s5Io+LjcOaaLvy1s/1WVnSzI1zAPBgNVHRMB
Af8EBTADAQH/MA0GCSqGSIb3DQEBBQUAA0EAHdGzVEHAbcihGjsZUklcsneGDxzM
AFCGO0XS39QoqBAEEbsnj+UPbbwtwhy3mbvwS1FyWAXGMOi55J7X+H0gRA==
-----END CERTIFICATE-----
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_key_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    key = PageCertificate(HOST, tmp_path, NOW).key
    assert stat.S_IMODE((tmp_path / "next.key").stat().st_mode) == 0o600
    assert PageCertificate(HOST, tmp_path, NOW).key == key
    assert names(tmp_path) == ["next.key"]


def test_the_request_is_for_this_host_and_this_key_alone(tmp_path: Path) -> None:
    page = PageCertificate(HOST, tmp_path, NOW)
    assert key_of_page_request(page.request(), HOST) == page.key


def test_a_fitting_certificate_is_served_and_kept_for_the_next_start(tmp_path: Path) -> None:
    page = PageCertificate(HOST, tmp_path, NOW)
    assert page.context() is None
    assert page.is_needed
    page.take(Authority().sign(page.request()), NOW)
    assert not page.is_needed
    assert names(tmp_path) == ["page.pem"]
    assert stat.S_IMODE((tmp_path / "page.pem").stat().st_mode) == 0o600
    again = PageCertificate(HOST, tmp_path, NOW)
    assert again.context() is not None
    assert again.key == page.key


def test_a_renewed_certificate_replaces_the_old_one(tmp_path: Path) -> None:
    authority = Authority()
    page = certified_page(HOST, tmp_path, authority)
    first, key = page.context(), page.key
    page.take(authority.sign(page.request(), days=2), NOW)
    assert page.context() is not first
    assert page.key == key
    assert page.replaced(NOW) == []


@pytest.mark.parametrize(
    "fault", ["another key", "another name", "expired", "garbage", "empty", "too large", "weak chain"]
)
def test_a_certificate_that_does_not_fit_is_refused_and_the_old_one_stays(tmp_path: Path, fault: str) -> None:
    authority = Authority()
    (tmp_path / "state").mkdir()
    page = certified_page(HOST, tmp_path / "state", authority)
    before = page.context(), (tmp_path / "state/page.pem").read_bytes()
    if fault == "another key":
        chain = authority.sign(make_page_request(ec.generate_private_key(ec.SECP256R1()), HOST))
    elif fault == "another name":
        chain = authority.sign(page.request(), host="praxis-2.example")
    elif fault == "expired":
        chain = authority.sign(page.request(), days=-1)
    elif fault == "weak chain":
        chain = authority.sign(page.request()) + WEAK
    else:
        chain = {"garbage": b"garbage", "empty": b"", "too large": b"-" * 70000}[fault]
    with pytest.raises(Tampered):
        page.take(chain, NOW)
    assert (page.context(), (tmp_path / "state/page.pem").read_bytes()) == before
    assert PageCertificate(HOST, tmp_path / "state", NOW).context() is not None


def test_a_new_key_waits_while_the_old_one_serves_and_then_the_old_one_is_gone(tmp_path: Path) -> None:
    authority = Authority()
    page = certified_page(HOST, tmp_path, authority)
    old, old_pem = page.key, (tmp_path / "page.pem").read_bytes()
    page.make_key()
    new = page.key
    page.make_key()
    assert page.key == new != old
    assert page.is_needed
    assert page.context() is not None
    page = PageCertificate(HOST, tmp_path, NOW)  # over a start
    assert page.key == new
    with pytest.raises(Tampered):
        page.take(old_pem, NOW)
    page.take(authority.sign(page.request()), NOW)
    assert names(tmp_path) == ["page.pem", "replaced.pem"]
    begin = old_pem.index(b"-----BEGIN PRIVATE")
    assert old_pem[begin:] not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    (replaced,) = page.replaced(NOW)
    assert replaced.public_key() != page.leaf.public_key()  # type: ignore[union-attr]
    page.note_revoked(NOW)
    assert page.replaced(NOW) == []


def test_a_power_cut_before_the_old_certificate_is_replaced_revokes_nothing(tmp_path: Path) -> None:
    page = certified_page(HOST, tmp_path, Authority())
    assert page.leaf is not None
    (tmp_path / "replaced.pem").write_bytes(page.leaf.public_bytes(Encoding.PEM))
    assert PageCertificate(HOST, tmp_path, NOW).replaced(NOW) == []


def test_a_power_cut_before_the_waiting_key_is_dropped_asks_for_nothing(tmp_path: Path) -> None:
    page = PageCertificate(HOST, tmp_path, NOW)
    waiting = (tmp_path / "next.key").read_bytes() if page.request() else b""
    page.take(Authority().sign(page.request()), NOW)
    (tmp_path / "next.key").write_bytes(waiting)
    again = PageCertificate(HOST, tmp_path, NOW)
    assert not again.is_needed
    assert names(tmp_path) == ["page.pem"]


def test_a_challenge_is_answered_by_a_certificate_as_rfc_8737_has_it(tmp_path: Path) -> None:
    digest = bytes(range(32))
    page = certified_page(HOST, tmp_path, Authority())
    page.answer_challenge(make_challenge(HOST, digest, tmp_path, NOW))
    shown = x509.load_der_x509_certificate(shake_hands(page.context(CHALLENGE), "acme-tls/1"))
    assert [extension.oid.dotted_string for extension in shown.extensions] == ["2.5.29.17", "1.3.6.1.5.5.7.1.31"]
    assert all(extension.critical for extension in shown.extensions)
    assert shown.extensions[0].value.get_values_for_type(x509.DNSName) == [HOST]
    assert shown.extensions[1].value.value == b"\x04\x20" + digest
    assert names(tmp_path) == ["page.pem"]


@pytest.mark.parametrize(
    "protocols",
    [(), (b"http/1.1",), (b"acme-tls/1", b"http/1.1"), (b"h2", b"acme-tls/1")],
    ids=lambda words: str(words),
)
def test_challenge_certificate_is_served_only_for_its_protocol(tmp_path: Path, protocols: tuple[bytes, ...]) -> None:
    page = certified_page(HOST, tmp_path, Authority())
    own = page.context()
    page.answer_challenge(make_challenge(HOST, bytes(32), tmp_path, NOW))
    assert page.context(protocols) is own
    assert page.context(CHALLENGE) is not own


def test_a_challenge_ends_with_its_time_and_with_a_certificate(tmp_path: Path) -> None:
    authority, at = Authority(), [0.0]
    page = certified_page(HOST, tmp_path, authority)
    own = page.context()
    assert own is not None
    page.answer_challenge(Challenge(own, lambda: at[0]))
    at[0] = LIFETIME_S
    assert page.context(CHALLENGE) is None
    page.answer_challenge(make_challenge(HOST, bytes(32), tmp_path, NOW))
    page.take(authority.sign(page.request()), NOW)
    assert page.context(CHALLENGE) is page.context()


def shake_hands(server: ssl.SSLContext | None, protocol: str) -> bytes:
    """Shake hands in memory and give the certificate that was shown (DER)."""
    assert server is not None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols([protocol])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(back, there, server_hostname=HOST),
        server.wrap_bio(there, back, server_side=True),
    )
    done: set[int] = set()
    while len(done) < 2:
        for number, end in enumerate(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            done.add(number)
    assert ends[0].selected_alpn_protocol() == protocol
    return ends[0].getpeercert(binary_form=True) or b""
