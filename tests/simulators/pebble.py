"""A public certificate authority: Debian's pebble, strict, and a DNS server that sends every name to this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from cryptography import x509

from appliance.demo.authority import LEAF_LIFETIME_S, lay_https_certificate, pebble_settings

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
    folder: Path, tls_port: int, *, lifetime_s: int = LEAF_LIFETIME_S, reject_nonces: int = 15, **environment: str
) -> AsyncIterator[Pebble]:
    """Run it; it looks for challenges' answers at `tls_port` of 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    lay_https_certificate(folder)
    acme, management, dns = free_ports(3)
    settings = pebble_settings(folder, listen=acme, management=management, portal=tls_port, lifetime_s=lifetime_s)
    (folder / "pebble.json").write_text(settings)
    nothing = ("-http01", "", "-https01", "", "-tlsalpn01", "", "-management", "127.0.0.1:0")
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
