"""A technician at a bench: enrol's own routes over TLS and a real portal; only vault is simulated (tests/enrol)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from appliance.enrol.bench_certificate import NOT_AFTER, NOT_BEFORE
from provisioning.portal.portal import Portal
from provisioning.station.enrol import Order, Station, enrol
from provisioning.station.progress import Progress
from provisioning.station.sheet import Sheet
from provisioning.station.station_key import make_station_key, read_station_key
from provisioning.station.workbench import BoxFiles, Workbench
from tests.enrol.simulated_bench import ORDER, Bench, running_bench
from tests.portal.simulated_box import PORTAL_NAME, portal_in

ROOT = Path(__file__).parents[2]
SERIAL = str(ORDER["serial"])


@dataclass
class Technician:
    """The station at a bench, with its files."""

    folder: Path
    bench: Bench
    portal: Portal
    order: Order
    station: Station
    told: list[str] = field(default_factory=list)

    @property
    def workbench(self) -> Workbench:
        return self.station.workbench

    @property
    def files(self) -> BoxFiles:
        return self.workbench.files(SERIAL)

    @property
    def progress(self) -> Progress:
        progress = self.files.read_progress()
        assert progress is not None
        return progress

    async def enrol(self, now: int = 1000, **changes: object) -> Sheet:
        self.told.clear()
        order = replace(self.order, **changes)  # type: ignore[arg-type]
        station = replace(self.station, now=lambda: now)
        return await enrol(order, station, lambda step, **_: self.told.append(step))

    def settings(self) -> dict[str, object]:
        """What the settings file of this station says."""
        order = self.order
        names = ("portal_name", "page_host", "page_port", "lan_host", "lan_port")
        return {name: getattr(order, name) for name in names} | {
            "folder": str(self.folder / "boxes"),
            "key": str(self.folder / "station.key"),
            "portal": order.portal_address,
            "portal_ca": str(self.portal.authority_path),
            "paper": "none",
        }

    def write_settings(self, **changes: object) -> Path:
        path = self.folder / "station.toml"
        entries = self.settings() | changes
        path.write_text("".join(f"{name} = {value!r}\n" for name, value in entries.items()))
        return path

    def words(self, *more: str) -> list[str]:
        """The command that enrols this box."""
        return [
            *("enrol", f"--settings={self.write_settings()}"),
            *(f"--serial={SERIAL}", f"--enrol=https://{self.order.bench_address}", *more),
        ]


@contextlib.asynccontextmanager
async def technician(folder: Path, *, listed: bool = True) -> AsyncIterator[Technician]:
    """A station with a key of its own, a portal that lists it (or not), one box on the bench; no paper is drawn."""
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
        station = Station(Workbench(folder / "boxes"), read_station_key(folder / "station.key"), ())
        yield Technician(folder, bench, portal, order, station)


@contextlib.asynccontextmanager
async def practice_page(folder: Path, name: str, answer: bytes = b"") -> AsyncIterator[int]:
    """A TLS server with a self-signed certificate for `name` (practice.pem), which answers any request with the same
    bytes; gives its port."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            if answer:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                await reader.read()
        writer.close()

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
    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def run_station(
    *words: str | Path, program: tuple[str, ...] = ("-m", "provisioning.station")
) -> tuple[int | None, str, str]:
    """Run the command as a process; give its status, what it said and what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *map(str, words)),
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()
