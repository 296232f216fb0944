"""The portal's address: host:port, and nothing that an URL could smuggle in."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.contracts.vault import Box
from appliance.core.errors import Invalid
from appliance.tunnel.portal_address import PortalAddress


def described(address: str, authority: str = "") -> Box:
    return Box(
        box="0" * 32,
        page_host="a.localhost",
        page_port=1,
        lan_host="b.localhost",
        lan_port=1,
        portal_address=address,
        portal_name="portal.example",
        portal_ca=authority,
        provisioned=True,
        claimed=False,
        practice_name="",
        telephone="",
    )


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("portal.example:443", "https://portal.example:443/control"),
        ("127.0.0.1:8444", "https://127.0.0.1:8444/control"),
        ("[::1]:443", "https://[::1]:443/control"),
    ],
)
def test_host_and_port_become_the_control_url(address: str, url: str) -> None:
    assert PortalAddress.of(described(address)).url("/control") == url


@pytest.mark.parametrize(
    "address", ["portal", ":443", "a:0", "a:99999", "a:443/x", "u@a:443", "a:443?x", "a:443#x", ""]
)
def test_anything_else_is_invalid(address: str) -> None:
    with pytest.raises(Invalid):
        PortalAddress.of(described(address))


@pytest.mark.parametrize(
    "authority", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"]
)
def test_without_a_pinned_authority_there_is_no_tls(authority: str) -> None:
    with pytest.raises(Invalid):
        PortalAddress.of(described("a:443", authority)).context()


def test_only_tls_1_3_is_spoken(tmp_path: Path) -> None:
    import datetime
    import ssl

    from provisioning.portal.authority import Authority

    authority = Authority(tmp_path, "portal.example", datetime.datetime.now(datetime.UTC)).authority_path
    context = PortalAddress.of(described("a:443", authority.read_text())).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
