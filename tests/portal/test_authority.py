"""The portal's certificate: made once, renewed in time, good for one name."""

from __future__ import annotations

import datetime
import shutil
import stat
from pathlib import Path

from cryptography import x509

from provisioning.portal.authority import Authority

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
NAME = "praxis-portal.localhost"


def leaf(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "portal.pem").read_bytes())


def test_the_authority_is_made_once_and_the_leaf_is_kept(tmp_path: Path) -> None:
    first = Authority(tmp_path, NAME, NOW)
    shown = first.context(NOW).certificate_sha256
    authority = first.authority_path.read_bytes()
    second = Authority(tmp_path, NAME, NOW + datetime.timedelta(days=1))
    assert second.context(NOW + datetime.timedelta(days=1)).certificate_sha256 == shown
    assert second.authority_path.read_bytes() == authority


def test_the_leaf_is_renewed_a_month_before_its_end(tmp_path: Path) -> None:
    authority = Authority(tmp_path, NAME, NOW)
    before = authority.context(NOW).certificate_sha256
    assert not authority.needs_renewal(NOW + datetime.timedelta(days=59))
    later = NOW + datetime.timedelta(days=61)
    assert authority.needs_renewal(later)
    assert authority.context(later).certificate_sha256 != before
    assert leaf(tmp_path).not_valid_after_utc > later


def test_a_relay_without_the_authoritys_key_shows_what_it_was_brought_and_makes_nothing(tmp_path: Path) -> None:
    made, relay = tmp_path / "registrar", tmp_path / "relay"
    later = NOW + datetime.timedelta(days=85)
    Authority(made, NAME, NOW).context(NOW)
    for moment in (NOW, later):
        shown = Authority(made, NAME, moment).context(moment).certificate_sha256
        relay.mkdir(exist_ok=True)
        for name in ("portal-ca.pem", "portal.key", "portal.pem"):
            shutil.copy(made / name, relay / name)
        assert Authority(relay, NAME, moment).context(moment).certificate_sha256 == shown
        assert Authority(relay, NAME, later).context(later).certificate_sha256 == shown
    assert sorted(path.name for path in relay.iterdir()) == ["portal-ca.pem", "portal.key", "portal.pem"]


def test_another_name_makes_another_leaf(tmp_path: Path) -> None:
    Authority(tmp_path, NAME, NOW).context(NOW)
    assert Authority(tmp_path, "other.example", NOW).needs_renewal(NOW)


def test_the_authority_can_sign_for_the_portal_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path, NAME, NOW)
    certificate = x509.load_pem_x509_certificate(authority.authority_path.read_bytes())
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert constraints.value.permitted_subtrees == [x509.DNSName(NAME)]


def test_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    Authority(tmp_path, NAME, NOW).context(NOW)
    for name in ("portal-ca.key", "portal.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
