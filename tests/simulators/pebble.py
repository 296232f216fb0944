"""A public certificate authority: Debian's pebble, strict, and a DNS server that sends every name to this machine."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

START_S = 20.0


@dataclass(frozen=True)
class Pebble:
    """A running authority. `directory_ca` signed its own HTTPS certificate; `root` (PEM) signs what it issues."""

    directory: str
    directory_ca: Path
    root: bytes
    management: str

    async def status_of(self, certificate: x509.Certificate) -> str:
        """Give what the authority says of a certificate: Valid or Revoked."""
        path = f"/cert-status-by-serial/{certificate.serial_number:x}"
        async with aiohttp.ClientSession() as session, session.get(self.management + path, ssl=False) as answer:
            said = await answer.json(content_type=None)
        return str(said["Status"])

    def client_context(self) -> ssl.SSLContext:
        """A browser that trusts this authority."""
        context = ssl.create_default_context(cadata=self.root.decode())
        context.set_alpn_protocols(["http/1.1"])
        return context


def lay_https_certificate(folder: Path) -> None:
    """Make `https.pem` and `https.key` for 127.0.0.1, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "https.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "https.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def free_ports(count: int) -> list[int]:
    """Give ports of 127.0.0.1 that are free for TCP and UDP."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            tcp, udp = held.enter_context(socket.socket()), held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            tcp.bind(("127.0.0.1", 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            ports.append(tcp.getsockname()[1])
    return ports


@asynccontextmanager
async def pebble(
    folder: Path, tls_port: int, *, validity_s: int = 0, reject_nonces: int = 15, **environment: str
) -> AsyncIterator[Pebble]:
    """Run it; it looks for challenges' answers at `tls_port` of 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    lay_https_certificate(folder)
    acme, management, dns = free_ports(3)
    settings = {
        "listenAddress": f"127.0.0.1:{acme}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "https.pem"),
        "privateKey": str(folder / "https.key"),
        "httpPort": 1,
        "tlsPort": tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        **({"certificateValidityPeriod": validity_s} if validity_s else {}),
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    nothing = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "")
    async with contextlib.AsyncExitStack() as running:
        enter = running.enter_async_context
        await enter(
            _process(folder, "pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-defaultIPv6", "", *nothing)
        )
        await enter(
            _process(
                folder,
                *("pebble", "-strict", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{dns}"),
                PEBBLE_VA_NOSLEEP="1",
                PEBBLE_WFE_NONCEREJECT=str(reject_nonces),
                PEBBLE_AUTHZREUSE="0",
                **environment,
            )
        )
        base = f"https://127.0.0.1:{management}"
        root = await _until_root(f"{base}/roots/0")
        yield Pebble(f"https://127.0.0.1:{acme}/dir", folder / "https.pem", root, base)


async def _until_root(url: str) -> bytes:
    async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url, ssl=False) as answer:
                    return await answer.read()
            await asyncio.sleep(0.02)


@asynccontextmanager
async def _process(folder: Path, *command: str, **environment: str) -> AsyncIterator[None]:
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env={**os.environ, **environment}
        )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()
