from __future__ import annotations

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from appliance.gateway.page_certificate import PageCertificate
from tests.simulators.patient_side import Authority

HOST = "praxis-1.example"
NOW = datetime.datetime.now(datetime.UTC)


def make(folder: Path, host: str = HOST) -> PageCertificate:
    for name in ("state", "request", "certificate"):
        (folder / name).mkdir(exist_ok=True)
    certificate = PageCertificate(
        host, folder / "state", folder / "request/page.csr", folder / "certificate/page.pem"
    )
    certificate.write_request()
    return certificate


def request(folder: Path) -> bytes:
    return (folder / "request/page.csr").read_bytes()


def offer(folder: Path, chain: bytes) -> None:
    (folder / "certificate/page.pem").write_bytes(chain)


def test_the_key_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    make(tmp_path)
    key = tmp_path / "state/page.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    make(tmp_path)
    assert key.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["page.key"]


def test_the_request_names_this_host_and_holds_no_secret(tmp_path: Path) -> None:
    make(tmp_path)
    asked = x509.load_pem_x509_csr(request(tmp_path))
    names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert asked.is_signature_valid
    assert b"PRIVATE" not in request(tmp_path)


def test_a_fitting_certificate_is_taken_and_kept_for_the_next_start(tmp_path: Path) -> None:
    certificate = make(tmp_path)
    assert not certificate.look(NOW)
    assert certificate.context() is None
    offer(tmp_path, Authority().sign(request(tmp_path)))
    assert certificate.look(NOW)
    (tmp_path / "certificate/page.pem").unlink()
    assert make(tmp_path).look(NOW)


def test_a_renewed_certificate_replaces_the_old_one(tmp_path: Path) -> None:
    certificate, authority = make(tmp_path), Authority()
    offer(tmp_path, authority.sign(request(tmp_path)))
    certificate.look(NOW)
    first = certificate.context()
    certificate.look(NOW)
    assert certificate.context() is first
    offer(tmp_path, authority.sign(request(tmp_path), days=2) + b"\n")
    certificate.look(NOW)
    assert certificate.context() is not first


@pytest.mark.parametrize("fault", ["another key", "another name", "expired", "garbage", "empty", "too large"])
def test_a_certificate_that_does_not_fit_is_refused_and_the_old_one_stays(tmp_path: Path, fault: str) -> None:
    certificate, authority = make(tmp_path), Authority()
    offer(tmp_path, authority.sign(request(tmp_path)))
    certificate.look(NOW)
    before = certificate.context()
    if fault == "another key":
        other = tmp_path / "other"
        other.mkdir()
        make(other)
        chain = authority.sign(request(other))
    elif fault == "another name":
        chain = authority.sign(request(tmp_path), host="praxis-2.example")
    elif fault == "expired":
        chain = authority.sign(request(tmp_path), days=-1)
    else:
        chain = {"garbage": b"garbage", "empty": b"", "too large": b"-" * 70000}[fault]
    offer(tmp_path, chain)
    assert certificate.look(NOW)
    assert certificate.context() is before
