"""A5, A12: what two TLS scanners say of a patient's way to the box, through the portal's relay.

The certificate is one as an authority of the web signs it, of 90 days and with a revocation list: a certificate of seven days, which a
box asks for where it is offered, is HIGH for testssl because its end is near. That is the only difference to a box.

`make scan` runs every check of testssl. Here run QUICK_CHECKS; left out are the server's preferences, HTTP headers (tests/gateway
holds them), vulnerabilities (of TLS 1.2 and older, which is not spoken; sslyze tries the most of them here), each cipher by itself and the simulation of
browsers.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from provisioning.portal.portal import Portal
from tests.attacks.tls_scan import (
    QUICK_CHECKS,
    X25519,
    X25519MLKEM768,
    offers_group,
    scan_with_sslyze,
    scan_with_testssl,
)
from tests.portal.simulated_box import SimulatedBox, portal_in
from tests.simulators.outer_box import OuterBox, outer_box
from tests.simulators.patient_side import PIN, Authority
from tests.simulators.sample_documents import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

HARMLESS = {"OK", "INFO", "LOW"}
#: The findings that are LOW, and why each is no harm; one more would be looked at.
EXPECTED_LOW: dict[str, str] = {}
#: Findings above LOW that are none here, by id. BREACH is what testssl says of any compressed page: it needs a secret and a stranger's
#: words in one compressed answer. "/" is a file, the same for everyone; what is made for a patient is not compressed (below).
#: engine_problem is about the scanner's own OpenSSL (it would like one with GOST), not about the server.
KNOWN = {"BREACH", "engine_problem"}
OLD_VERSIONS = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2")
FULL = "SCAN_EVERYTHING"


class WebAuthority(Authority):
    """Signs as the web's authorities do."""

    def sign(self, request: bytes, *, host: str | None = None, days: int = 90, revoked: str = "") -> bytes:
        return super().sign(request, host=host, days=days, revoked=revoked or "http://authority.invalid/list.crl")


@dataclass
class Scene:
    portal: Portal
    box: OuterBox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("scan")
    identity = SimulatedBox(folder)
    async with portal_in(folder) as portal:
        portal.registry.register(identity.record())
        async with outer_box(
            folder / "box", portal.port, portal.authority_path, identity=identity, authority=WebAuthority()
        ) as box:
            await box.until("connected", spares=4)
            yield Scene(portal, box)


async def test_testssl_finds_tls_1_3_only_and_nothing_above_low(scene: Scene, tmp_path: Path) -> None:
    checks = () if FULL in os.environ else QUICK_CHECKS
    found = await scan_with_testssl(
        scene.box.host_name, scene.portal.port, scene.box.authority_path, tmp_path, checks
    )
    by_id = {one["id"]: one for one in found}
    assert len(by_id) > 40, "the scan took place"
    assert by_id["TLS1_3"]["finding"].startswith("offered with final")
    for version in OLD_VERSIONS:
        assert by_id[version]["finding"].startswith("not offered"), version
    assert by_id["PFS"]["severity"] == "OK"
    assert by_id["cert_chain_of_trust"]["finding"] == "passed."
    worse = {one["id"]: f"{one['severity']}: {one['finding']}" for one in found if one["severity"] not in HARMLESS}
    assert set(worse) <= KNOWN, worse
    assert {one["id"] for one in found if one["severity"] == "LOW"} == set(EXPECTED_LOW)


async def test_no_answer_that_is_made_for_a_patient_is_compressed(scene: Scene) -> None:
    share = scene.box.share(Sample("a.txt", "a", "finding", "text/plain", [b"a" * 100_000]))
    async with scene.box.patient(share) as patient:
        wanted = {"Accept-Encoding": "gzip, deflate, br, zstd"}
        page = await patient.ask("GET", "/", headers=wanted)
        assert page.headers.get("Content-Encoding") == "gzip", "the control: the page's file is"
        answers = [
            await patient.ask("POST", "/api/state", json={"proof": "unknown"}, headers=wanted),
            await patient.ask("POST", "/api/open", json={"proof": "unknown", "pin": PIN}, headers=wanted),
            await patient.ask("GET", "/share/manifest", headers={**wanted, "Praxis-Locator": share.locator}),
            await patient.sealed(share.documents[0].file, **wanted),
        ]
    assert [answer for answer in answers if "Content-Encoding" in answer.headers] == []
    assert [answer.status for answer in answers][2:] == [200, 200]


async def test_sslyze_finds_tls_1_3_only_and_no_weakness(scene: Scene, tmp_path: Path) -> None:
    found = await scan_with_sslyze(scene.box.host_name, scene.portal.port, scene.box.authority_path, tmp_path)
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2"):
        assert not found[f"{version}_cipher_suites"]["accepted_cipher_suites"], version
    accepted = {suite["cipher_suite"]["name"] for suite in found["tls_1_3_cipher_suites"]["accepted_cipher_suites"]}
    assert accepted == {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
    assert not found["tls_compression"]["supports_compression"]
    assert not found["tls_1_3_early_data"]["supports_early_data"]
    assert not found["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert not found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert found["robot"]["robot_result"].startswith("NOT_VULNERABLE")
    assert not found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    for kind in ("session_id", "tls_ticket"):
        assert found["session_resumption"][f"{kind}_resumption_result"] in {"NOT_SUPPORTED", "SERVER_IS_TLS_1_3_ONLY"}
    [deployment] = found["certificate_info"]["certificate_deployments"]
    successful = {
        one["trust_store"]["name"]: one["was_validation_successful"] for one in deployment["path_validation_results"]
    }
    assert successful["Supplied CA file"]
    assert deployment["received_chain_has_valid_order"]


async def test_the_hybrid_group_is_offered_where_openssl_has_it(scene: Scene) -> None:
    """X25519MLKEM768: who records today opens nothing with a quantum computer of tomorrow. OpenSSL has it from 3.5 on."""
    host, port = scene.box.host_name, scene.portal.port
    assert await offers_group(host, port, X25519), "the control"
    assert await offers_group(host, port, X25519MLKEM768) == (ssl.OPENSSL_VERSION_INFO >= (3, 5))
