"""Walk 4 without the container: the station, enrol's own routes over TLS, a real portal; only vault is simulated."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from nacl.signing import SigningKey

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered, Unavailable
from appliance.enrol.bench_certificate import NOT_AFTER, NOT_BEFORE
from provisioning.portal.portal import Portal
from provisioning.station import enrol as station_enrol
from provisioning.station.bench import bench_fingerprint
from provisioning.station.enrol import Order, enrol
from provisioning.station.sheet import Sheet, read_sheet
from provisioning.station.station_key import make_station_key, read_station_key
from tests.enrol.simulated_bench import BOX, ORDER, Bench, running_bench
from tests.portal.simulated_box import PORTAL_NAME, portal_in

ROOT = Path(__file__).parents[2]


@dataclass
class Technician:
    """The station at a bench, with its files."""

    folder: Path
    bench: Bench
    portal: Portal
    order: Order
    key: SigningKey

    @property
    def sheet_file(self) -> Path:
        return self.folder / "sheet.json"

    async def enrol(self, issued_at: int = 1000, **changes: object) -> Sheet:
        order = replace(self.order, **changes)  # type: ignore[arg-type]
        self.told: list[str] = []
        return await enrol(order, self.key, self.sheet_file, issued_at, lambda step, **_: self.told.append(step))

    def words(self, *more: str) -> list[str]:
        order = self.order
        return [
            *("enrol", f"--enrol=https://{order.bench_address}", f"--portal={order.portal_address}"),
            *(f"--portal-name={order.portal_name}", f"--portal-ca={self.portal.authority_path}"),
            *(
                f"--key={self.folder / 'station.key'}",
                f"--page-host={order.page_host}",
                f"--lan-host={order.lan_host}",
            ),
            *(f"--page-port={order.page_port}", f"--lan-port={order.lan_port}", f"--serial={order.serial}"),
            *(f"--sheet={self.sheet_file}", *more),
        ]


@contextlib.asynccontextmanager
async def technician(folder: Path, *, listed: bool = True) -> AsyncIterator[Technician]:
    public = make_station_key(folder / "station.key")
    async with (
        running_bench(folder) as bench,
        portal_in(folder, station_keys=(public,) if listed else ()) as portal,
    ):
        order = Order(
            **ORDER  # type: ignore[arg-type]
            | {
                "bench_address": bench.address,
                "bench_sha256": None,
                "portal_address": f"{PORTAL_NAME}:{portal.port}",
                "portal_name": PORTAL_NAME,
                "portal_ca": portal.authority_path.read_text(),
            }
        )
        yield Technician(folder, bench, portal, order, read_station_key(folder / "station.key"))


async def test_a_box_gets_keys_a_record_and_a_sheet(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        sheet = await at_bench.enrol()
        await asyncio.wait_for(at_bench.bench.routes.ended, 5)
        assert at_bench.bench.vault.finished
        assert at_bench.portal.registry.box_of("praxis-abababab.localhost") == bytes.fromhex(BOX)
        assert sheet.claim_code == at_bench.bench.vault.claim_code
        assert sheet.patient_host == "praxis-abababab.localhost"
        assert sheet.practice_url == "https://praxis-abababab-lan.localhost:8443/"
        assert len(sheet.device_fingerprint.split()) == 16
        assert sheet.finished
        assert read_sheet(at_bench.sheet_file) == sheet
        assert at_bench.sheet_file.stat().st_mode & 0o777 == 0o600
        assert at_bench.told == ["bench_trusted", "keys", "register", "finish"]


async def test_the_box_is_told_exactly_what_the_technician_said(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        (order,) = at_bench.bench.vault.orders
        told = {name: getattr(order, name) for name in ORDER}
        assert told == {name: getattr(at_bench.order, name) for name in ORDER}


# --- interrupted, and run again ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["keys", "register", "finish"])
@pytest.mark.parametrize("issued_at", [1000, 1001])
async def test_a_run_that_ends_before_any_step_is_simply_run_again(tmp_path: Path, step: str, issued_at: int) -> None:
    async with technician(tmp_path) as at_bench:

        def tell(told: str, **_: str) -> None:
            if told == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await enrol(at_bench.order, at_bench.key, at_bench.sheet_file, 1000, tell)
        assert not at_bench.bench.vault.finished
        sheet = await at_bench.enrol(issued_at)
        assert sheet.claim_code == at_bench.bench.vault.claim_code
        assert at_bench.bench.vault.finished


async def test_a_vault_that_cannot_finish_now_can_later(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.failure = Unavailable("storage")
        with pytest.raises(Unavailable, match="storage"):
            await at_bench.enrol()
        assert not at_bench.bench.routes.ended.done()
        unfinished = read_sheet(at_bench.sheet_file)
        assert unfinished is not None
        assert not unfinished.finished
        assert (await at_bench.enrol(1001)).claim_code == "CODE-2"


@contextlib.asynccontextmanager
async def practice_page(folder: Path, name: str) -> AsyncIterator[int]:
    """A TLS server with a self-signed certificate for `name`; gives its port."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "practice")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOT_BEFORE, NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    file = folder / "practice.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def lose_the_last_answer(at_bench: Technician, monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    """Finish the box, and let the station believe that nobody answered."""
    really_ask = station_enrol.ask_box

    async def ask(address: str, seen: bytes, path: str, *more: object) -> object:
        answer = await really_ask(address, seen, path, *more)  # type: ignore[arg-type]
        if path == "/finish":
            raise Unavailable("box_away")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(station_enrol, "ask_box", ask)
        with pytest.raises(Unavailable, match="box_away"):
            await at_bench.enrol(**changes)  # type: ignore[arg-type]
    assert at_bench.bench.vault.finished


@pytest.mark.parametrize("door", ["still open", "gone"])
async def test_a_lost_last_answer_loses_no_claim_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    async with technician(tmp_path) as at_bench, practice_page(tmp_path, "praxis-abababab-lan.localhost") as port:
        await lose_the_last_answer(at_bench, monkeypatch, lan_port=port)
        gone = {} if door == "still open" else {"bench_address": "127.0.0.1:1"}
        sheet = await at_bench.enrol(lan_port=port, **gone)
        assert sheet.finished
        assert sheet.claim_code == at_bench.bench.vault.claim_code == "CODE-1"
        assert read_sheet(at_bench.sheet_file) == sheet
        assert at_bench.told[-1] == "finished_before"


async def test_another_box_in_its_place_does_not_make_the_sheet_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with technician(tmp_path) as at_bench, practice_page(tmp_path, "praxis-cdcdcdcd-lan.localhost") as port:
        await lose_the_last_answer(at_bench, monkeypatch, lan_port=port)
        with pytest.raises(Refused, match="provisioned"):
            await at_bench.enrol(lan_port=port)
        with pytest.raises(Unavailable, match="box_away"):
            await at_bench.enrol(lan_port=port, bench_address="127.0.0.1:1")
        unfinished = read_sheet(at_bench.sheet_file)
        assert unfinished is not None
        assert not unfinished.finished


# --- who is refused ----------------------------------------------------------------------------------------------


async def test_an_enrolled_box_refuses_a_second_enrolment(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.finished = True
        with pytest.raises(Refused, match="provisioned"):
            await at_bench.enrol()


async def test_another_key_for_a_known_box_is_refused_by_the_portal(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        at_bench.bench.vault.finished = False
        at_bench.bench.vault.key = ec.generate_private_key(ec.SECP256R1())
        with pytest.raises(Refused, match="box_taken"):
            await at_bench.enrol(1001)
        assert not at_bench.bench.vault.finished


async def test_another_box_with_a_known_key_is_refused_by_the_portal(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        at_bench.bench.vault.finished = False
        at_bench.bench.vault.box = "cd" * 16
        with pytest.raises(Refused, match="device_key_taken"):
            await at_bench.enrol(1001)


async def test_a_station_that_is_not_listed_cannot_register_a_box(tmp_path: Path) -> None:
    async with technician(tmp_path, listed=False) as at_bench:
        with pytest.raises(Refused, match="station"):
            await at_bench.enrol()
        assert not at_bench.bench.vault.finished


async def test_an_order_that_somebody_overtook_is_not_finished(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        really_register = station_enrol.register

        async def register(*arguments: str | bytes) -> None:
            await really_register(*arguments)  # type: ignore[arg-type]
            await at_bench.bench.ask("POST", "/enrol", json=ORDER | {"portal_name": "stranger.example"})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(station_enrol, "register", register)
            with pytest.raises(Refused, match="ticket"):
                await at_bench.enrol()
        assert not at_bench.bench.vault.finished


async def test_a_pinned_bench_certificate_is_held_to(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        seen = await asyncio.to_thread(bench_fingerprint, at_bench.bench.address)
        assert seen == at_bench.bench.context.certificate_sha256
        with pytest.raises(Tampered, match="bench_certificate"):
            await at_bench.enrol(bench_sha256=bytes(32))
        with pytest.MonkeyPatch.context() as patch:  # it changes between the first connection and the next
            patch.setattr(station_enrol, "bench_fingerprint", lambda _: bytes(32))
            with pytest.raises(Tampered, match="bench_certificate"):
                await at_bench.enrol()
        assert not at_bench.bench.vault.orders
        await at_bench.enrol(bench_sha256=seen)
        assert at_bench.told[0] == "bench_pinned"


async def test_a_portal_of_another_authority_gets_no_record(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with technician(tmp_path) as at_bench, portal_in(other) as stranger:
        with pytest.raises(Tampered, match="portal_certificate"):
            await at_bench.enrol(portal_address=f"127.0.0.1:{stranger.port}")
        with pytest.raises(Unavailable, match="portal_away"):  # it hangs up on a name that is not its own
            await at_bench.enrol(portal_name="another.example")
        assert not at_bench.bench.vault.finished


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"serial": "ps 1"}, Invalid("serial")),
        ({"bench_address": "127.0.0.1"}, Invalid("address")),
        ({"bench_address": "127.0.0.1:99999"}, Invalid("address")),
        ({"bench_address": "::1:8443"}, Invalid("address")),
        ({"bench_address": "127.0.0.1:1"}, Unavailable("box_away")),
        ({"portal_address": "127.0.0.1:1"}, Unavailable("portal_away")),
        ({"page_host": "Praxis"}, Invalid("device_record")),
        ({"portal_name": "Not A Name"}, Invalid("portal_name")),
    ],
)
async def test_wrong_input_is_named_and_closes_nothing(
    tmp_path: Path, changes: dict[str, object], failure: PraxisError
) -> None:
    async with technician(tmp_path) as at_bench:
        with pytest.raises(type(failure)) as raised:
            await at_bench.enrol(**changes)  # type: ignore[arg-type]
        assert raised.value.code == failure.code
        assert not at_bench.bench.vault.finished


async def test_the_sheet_of_another_box_is_not_written_over(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        await at_bench.enrol()
        kept = at_bench.sheet_file.read_bytes()
        at_bench.bench.vault.finished = False
        with pytest.raises(Refused, match="sheet_taken"):
            await at_bench.enrol(serial="PS-0002")
        assert at_bench.sheet_file.read_bytes() == kept
        at_bench.sheet_file.write_text("a letter")
        with pytest.raises(Invalid, match="sheet"):
            await at_bench.enrol()
        assert at_bench.sheet_file.read_text() == "a letter"


# --- the command -------------------------------------------------------------------------------------------------


async def run_station(*words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "provisioning.station", *words),
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def test_the_command_enrols_and_prints_the_sheet(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        pin = f"--enrol-sha256={at_bench.bench.context.certificate_sha256.hex(':')}"
        status, said, complained = await run_station(*at_bench.words("--json", pin))
        assert status == 0, complained
        sheet = json.loads(said)
        assert sheet == json.loads(at_bench.sheet_file.read_bytes())
        assert sheet["claim_code"] == at_bench.bench.vault.claim_code
        assert "claim" not in complained
        assert sheet["claim_code"] not in complained


async def test_the_command_prints_the_sheet_for_people_and_says_whom_it_trusted(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        status, said, complained = await run_station(*at_bench.words())
        assert status == 0, complained
        for shown in (
            "CODE-1",
            "PS-0001",
            "https://praxis-abababab-lan.localhost:8443/",
            "praxis-abababab.localhost",
        ):
            assert shown in said
        assert at_bench.bench.context.certificate_sha256.hex() in complained
        assert "trusted" in complained


async def test_failures_have_a_status_of_their_own(tmp_path: Path) -> None:
    async with technician(tmp_path, listed=False) as at_bench:
        words = at_bench.words()
        assert (await run_station(*words, "--serial=x"))[0] == 2
        assert (await run_station(*words, "--portal-ca=/nowhere"))[0] == 2
        assert (await run_station(*words, "--key=/nowhere"))[0] == 2
        assert (await run_station(*words, "--enrol=127.0.0.1:1"))[0] == 3
        status, said, complained = await run_station(*words)
        assert (status, said) == (4, "")
        assert "Have the station's key added there" in complained
        assert (await run_station(*words, f"--enrol-sha256={'00' * 32}"))[0] == 5


async def test_the_station_key_is_made_once_and_shown_again(tmp_path: Path) -> None:
    key = f"--key={tmp_path / 'key'}"
    status, public, _ = await run_station("new-key", key)
    assert status == 0
    assert len(base64.urlsafe_b64decode(public.strip() + "=")) == 32
    assert (await run_station("public-key", key))[:2] == (0, public)
    status, _, complained = await run_station("new-key", key)
    assert status == 4
    assert "stays as it is" in complained
    assert (await run_station("public-key", key))[:2] == (0, public)


async def test_the_station_needs_nothing_of_a_box(tmp_path: Path) -> None:
    """It runs where systemd, the TPM libraries and the box's code are not."""
    program = "import sys, provisioning.station.__main__\nprint(*sorted(sys.modules))"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    loaded = set(said.decode().split())
    assert "provisioning.station.enrol" in loaded
    of_a_box = {name for name in loaded if name.startswith("appliance.") and not name.startswith("appliance.formats")}
    assert of_a_box == {"appliance.core", "appliance.core.errors"}
    assert not loaded & {"systemd", "tpm2_pytss", "sqlcipher3", "prometheus_client"}
