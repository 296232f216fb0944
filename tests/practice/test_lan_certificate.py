"""The LAN certificate: made once for one host by an authority whose key nobody keeps."""

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store

from appliance.practice.lan_certificate import keep_certificate

NOW = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
HOST = "praxis-0123abcd-lan.localhost"


def test_certificate_is_made_once_and_kept(tmp_path):
    made = keep_certificate(tmp_path, HOST, NOW)
    kept = keep_certificate(tmp_path, HOST, NOW + datetime.timedelta(days=700))
    assert made == kept
    assert (tmp_path / "lan.key").stat().st_mode & 0o777 == 0o600
    assert made.context().minimum_version is ssl.TLSVersion.TLSv1_3


def test_certificate_is_replaced_before_it_ends_and_for_another_host(tmp_path):
    first = keep_certificate(tmp_path, HOST, NOW)
    later = keep_certificate(tmp_path, HOST, NOW + datetime.timedelta(days=795))
    other = keep_certificate(tmp_path, "other.localhost", NOW + datetime.timedelta(days=795))
    assert len({first.fingerprint, later.fingerprint, other.fingerprint}) == 3


def test_damaged_files_are_replaced(tmp_path):
    made = keep_certificate(tmp_path, HOST, NOW)
    for damage in ("lan.pem", "lan.key"):
        (tmp_path / damage).write_bytes(b"damaged")
        again = keep_certificate(tmp_path, HOST, NOW)
        assert again.fingerprint != made.fingerprint
        made = again
    (tmp_path / "lan-ca.pem").unlink()
    assert keep_certificate(tmp_path, HOST, NOW).context()


def test_authority_may_sign_for_this_host_only_and_its_key_is_gone(tmp_path):
    keep_certificate(tmp_path, HOST, NOW)
    authority = x509.load_pem_x509_certificate((tmp_path / "lan-ca.pem").read_bytes())
    leaf, root = x509.load_pem_x509_certificates((tmp_path / "lan.pem").read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName(HOST)]
    assert root == authority
    key = load_pem_private_key((tmp_path / "lan.key").read_bytes(), password=None)
    assert key.public_key() == leaf.public_key() != authority.public_key()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lan-ca.pem", "lan.key", "lan.pem"]
    verifier = PolicyBuilder().store(Store([authority])).time(NOW).build_server_verifier(x509.DNSName(HOST))
    assert verifier.verify(leaf, [])
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= datetime.timedelta(days=825)
