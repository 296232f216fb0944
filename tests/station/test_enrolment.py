"""Walk 4 without the container: station, enrol's own routes over TLS, and a real portal; vault is a small peer."""

import asyncio
import contextlib
import os
import socket
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.contracts.vault import VAULT, Box, Describe, FinishProvisioning, NewBox, Provision
from appliance.core.accept import accept_connections
from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.core.varlink import Done, Peer, serve
from appliance.enrol.bench_certificate import make_bench_context
from appliance.enrol.routes import Routes
from provisioning.station.enrol import Order, enrol
from provisioning.station.station_key import make_station_key, public_text, read_station_key
from provisioning.station.web import ask_box, bench_fingerprint
from provisioning.station.words import FAILURES
from tests.portal.simulated_box import PORTAL_NAME, portal_in


class VaultPeer:
    """Makes keys once and fresh claim codes, as the contract says."""

    def __init__(self) -> None:
        self.box = "ab" * 16
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.codes: list[str] = []
        self.finished = False
        self.fail_finish = False

    async def provision(self, call: Provision, _) -> NewBox:
        if self.finished:
            raise Refused("provisioned")
        self.codes.append(f"CODE-{len(self.codes)}")
        der = self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return NewBox(box=self.box, device_key=der, claim_code=self.codes[-1], serial=call.serial)

    async def finish(self, _, __) -> Done:
        if self.fail_finish:
            raise Unavailable("storage")
        self.finished = True
        return Done()

    async def describe(self, _, __) -> Box:
        raise Unavailable("unprovisioned")

    def table(self):
        async def none(*_):
            raise Refused("caller")

        return {verb: none for verb in VAULT.verbs.values()} | {
            Provision: self.provision,
            FinishProvisioning: self.finish,
            Describe: self.describe,
        }


class Bench:
    def __init__(self, address: str, vault: VaultPeer, routes: Routes, order: Order, station, portal) -> None:
        self.address, self.vault, self.routes, self.order = address, vault, routes, order
        self.station, self.portal = station, portal

    async def run(self, issued_at: int = 1000, **changes):
        order = Order(**{**vars(self.order), **changes})
        return await enrol(order, self.station, issued_at, lambda _: None)


@contextlib.asynccontextmanager
async def bench(tmp_path: Path, *, listed: bool = True):
    key_file = tmp_path / "station.key"
    text = make_station_key(key_file)
    station = read_station_key(key_file)
    assert public_text(station) == text
    vault = VaultPeer()
    with contextlib.ExitStack() as stack:
        local = stack.enter_context(socket.socket(socket.AF_UNIX))
        local.bind(str(tmp_path / "vault.sock"))
        local.listen()
        lan = stack.enter_context(socket.socket())
        lan.bind(("127.0.0.1", 0))
        lan.listen()
        routes = Routes(Peer(VAULT, tmp_path / "vault.sock"))
        runner = web.AppRunner(routes.application(), access_log=None)
        await runner.setup()
        context = make_bench_context()
        tasks = [
            asyncio.create_task(serve(local, [(VAULT, vault.table())], {os.getuid(): "enrol"})),
            asyncio.create_task(accept_connections(lan, runner.server, lambda: context, max_connections=4)),
        ]
        stations = (text,) if listed else ()
        try:
            async with portal_in(tmp_path, station_keys=stations) as portal:
                address = f"127.0.0.1:{lan.getsockname()[1]}"
                order = Order(
                    bench_address=address,
                    bench_sha256=None,
                    portal_address=f"127.0.0.1:{portal.port}",
                    portal_name=PORTAL_NAME,
                    portal_ca=(tmp_path / "portal/portal-ca.pem").read_text(),
                    page_host="praxis-{box}.localhost",
                    page_port=8444,
                    lan_host="praxis-{box}-lan.localhost",
                    lan_port=8443,
                    serial="PS-0001",
                )
                yield Bench(address, vault, routes, order, station, portal)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()


async def test_a_box_gets_keys_a_record_and_a_sheet(tmp_path):
    async with bench(tmp_path) as on_bench:
        sheet = await on_bench.run()
        await asyncio.wait_for(on_bench.routes.finished.wait(), 5)
        assert on_bench.vault.finished
        assert sheet.claim_code == on_bench.vault.codes[-1]
        assert sheet.patient_host == "praxis-abababab.localhost"
        assert sheet.practice_url == "https://praxis-abababab-lan.localhost:8443/"
        assert len(sheet.device_fingerprint.split()) == 16


async def test_an_interrupted_run_is_simply_run_again(tmp_path):
    async with bench(tmp_path) as on_bench:
        on_bench.vault.fail_finish = True
        with pytest.raises(Unavailable, match="storage"):
            await on_bench.run()
        assert not on_bench.routes.finished.is_set()
        on_bench.vault.fail_finish = False
        sheet = await on_bench.run(issued_at=1001)
        assert sheet.claim_code == "CODE-1"


async def test_an_enrolled_box_refuses_a_second_enrolment(tmp_path):
    async with bench(tmp_path) as on_bench:
        on_bench.vault.finished = True
        with pytest.raises(Refused, match="provisioned"):
            await on_bench.run()


async def test_another_key_for_a_known_box_is_refused_by_the_portal(tmp_path):
    async with bench(tmp_path) as on_bench:
        await on_bench.run()
        on_bench.vault.finished = False
        on_bench.vault.key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(Invalid, match="box_taken"):
            await on_bench.run(issued_at=1001)


async def test_a_station_that_is_not_listed_cannot_register_a_box(tmp_path):
    async with bench(tmp_path, listed=False) as on_bench:
        with pytest.raises(Unavailable, match="portal_refuses"):
            await on_bench.run()
        assert not on_bench.vault.finished


async def test_a_pinned_bench_certificate_is_held_to(tmp_path):
    async with bench(tmp_path) as on_bench:
        with pytest.raises(Tampered, match="bench_certificate"):
            await on_bench.run(bench_sha256=bytes(32))
        with pytest.raises(Tampered, match="bench_certificate"):
            await ask_box(on_bench.address, bytes(32), "GET", "/state")
        assert not on_bench.vault.codes


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", None, "page"),
        ("GET", "/enrol", None, "page"),
        ("POST", "/finish/", None, "page"),
        ("POST", "/enrol", {"page_host": "x"}, "order"),
        ("POST", "/enrol", [], "order"),
    ],
)
async def test_enrol_answers_nothing_else(tmp_path, method, path, body, status):
    async with bench(tmp_path) as on_bench:
        seen = await asyncio.to_thread(bench_fingerprint, on_bench.address)
        with pytest.raises(Exception, match=status):
            await ask_box(on_bench.address, seen, method, path, body)
        assert not on_bench.vault.codes


def test_the_station_key_is_never_written_over(tmp_path):
    make_station_key(tmp_path / "key")
    with pytest.raises(Refused, match="key_exists"):
        make_station_key(tmp_path / "key")


def test_a_station_key_that_others_may_read_is_refused(tmp_path):
    make_station_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(Refused, match="key_open"):
        read_station_key(tmp_path / "key")


def test_every_failure_is_explained_in_two_languages():
    for german, english in FAILURES.values():
        assert german.endswith(".")
        assert english.endswith(".")
        assert german != english
