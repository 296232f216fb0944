"""All that has a part in the page's certificate: pebble, a real portal's relay, gateway's own parts, the real vault.

The box's end of the tunnel is spoken by hand (SimulatedBox); vault has a TPM in software. `certificate` is the
product's, in this process, so that a test can be it, or be in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from appliance.certificate.keeper import Keeper
from appliance.certificate.order import Ordering
from appliance.certificate.settings import CertificateSettings
from appliance.certificate.status import Status
from appliance.contracts.gateway import GATEWAY, PageRequest, ReadPageRequest
from appliance.contracts.page_key import PAGE_KEY, RegisterPageKey
from appliance.contracts.tunnel import TUNNEL, ReadState, TunnelState
from appliance.contracts.vault import VAULT, Describe, OpenShare, ShowShare, WatchOpening
from appliance.core.varlink import Answers, Caller, Interface, Peer, serve
from appliance.gateway.certificate_answers import CertificateAnswers
from appliance.gateway.connections import Connections
from appliance.gateway.page_certificate import PageCertificate
from appliance.gateway.page_files import read_page_files
from appliance.gateway.routes import Host, Routes
from appliance.gateway.spool import Spool
from appliance.vault.answers import VaultAnswers
from appliance.vault.page_key_answers import PageKeyAnswers
from tests.portal.simulated_box import Answer, SimulatedBox, portal_in
from tests.simulators.audit_log import audit_simulator
from tests.simulators.pebble import Pebble, pebble
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import PROVISION, Bench, Running


@dataclass
class AcmeSide:
    """What a test holds. `vault`, `gateway` and `tunnel` are asked as certificate asks them."""

    authority: Pebble
    host: str
    port: int
    page: PageCertificate
    connections: Connections
    vault_process: Running
    opening: Peer
    vault: Peer
    gateway: Peer
    tunnel: Peer
    status: Status
    settings: CertificateSettings

    @property
    def ordering(self) -> Ordering:
        return Ordering(self.vault, self.gateway, self.settings, self.status)

    def keeper(self) -> Keeper:
        return Keeper(self.ordering, self.opening, self.gateway, self.tunnel, self.settings, self.status)

    async def request(self) -> PageRequest:
        return await self.gateway.ask(ReadPageRequest())

    async def vault_process_registers(self, key: bytes) -> None:
        """Have vault know a page key that the test holds."""
        await PageKeyAnswers(self.vault_process.vault).answer_register_page_key(
            RegisterPageKey(public_key=key), Caller("gateway")
        )

    async def obtain(self) -> None:
        await self.ordering.obtain(await self.request())

    async def connect(
        self, context: ssl.SSLContext | None = None, host: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect through the portal, as a patient's browser does."""
        return await asyncio.open_connection(
            "127.0.0.1",
            self.port,
            ssl=context or self.authority.client_context(),
            server_hostname=host or self.host,
        )

    async def get(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Ask for the page and give the status."""
        writer.write(f"GET / HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(int(length.split(":")[1]))
        return int(head.split()[1])


class UnopenedBox(SimulatedBox):
    """Passes a connection on when its first byte has come, the portal's header unread: gateway reads it."""

    def _greeted(self, answer: Answer) -> Answer:
        async def greet(sock: socket.socket) -> None:
            loop, ready = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(sock, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(sock)
            await answer(sock)

        return greet


@asynccontextmanager
async def acme_side(folder: Path, **authority: object) -> AsyncIterator[AcmeSide]:
    """Run all of it; nobody orders anything by itself."""
    for name in ("vault", "state", "spool", "portal"):
        (folder / name).mkdir()
    identity = UnopenedBox(folder)
    with software_tpm(folder / "tpm") as tcti, ThreadPoolExecutor(2) as executor:
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            portal = await enter(portal_in(folder / "portal"))
            portal.registry.register(identity.record())
            ca = await enter(pebble(folder / "pebble", portal.port, **authority))  # type: ignore[arg-type]
            audit = await enter(audit_simulator(folder))
            bench = Bench(folder / "vault", tcti, audit, booted(folder / "boot", tcti))
            vault = await enter(bench.open())
            await vault.ask(replace(PROVISION, page_host=identity.host_name, page_port=portal.port))
            page_key = PageKeyAnswers(vault.vault).table()
            opening = {verb: vault.table[verb] for verb in (Describe, ShowShare, OpenShare)}
            page = PageCertificate(identity.host_name, folder / "state", datetime.datetime.now(datetime.UTC))
            for_gateway = await enter(answering(folder, "vault-for-gateway", PAGE_KEY, page_key, "gateway"))
            routes = Routes(
                Host(identity.host_name, portal.port),
                read_page_files(),
                Spool(folder / "spool", executor),
                await enter(answering(folder, "opening-for-gateway", VAULT, opening, "gateway")),
                vault_timeout_s=10,
                stall_timeout_s=30,
            )
            connections = Connections(
                routes,
                page.context,
                max_connections=64,
                max_connections_per_address=64,
                idle_timeout_s=30,
                handshake_timeout_s=5,
            )

            async def take(sock: socket.socket) -> None:
                with contextlib.suppress(Exception):
                    connections.take(os.dup(sock.fileno()))

            stack.push_async_callback(connections.close)
            await enter(identity.serve(portal, take))
            gateway = CertificateAnswers(page, for_gateway, folder / "state").table()
            watch = {WatchOpening: VaultAnswers(vault.vault).table()[WatchOpening]}
            by = "certificate"
            yield AcmeSide(
                authority=ca,
                host=identity.host_name,
                port=portal.port,
                page=page,
                connections=connections,
                vault_process=vault,
                opening=await enter(answering(folder, "opening", VAULT, watch, by)),
                vault=await enter(answering(folder, "vault", PAGE_KEY, page_key, by)),
                gateway=await enter(answering(folder, "gateway", GATEWAY, gateway, by)),
                tunnel=await enter(answering(folder, "tunnel", TUNNEL, {ReadState: connected}, by)),
                status=Status(ca.directory),
                settings=CertificateSettings(directory=ca.directory, directory_ca=str(ca.directory_ca)),
            )


CONNECTED = {"state": "connected", "mode": "raw", "spares": 4, "connected": 1, "relays": 1}


async def connected(_: ReadState, __: Caller) -> TunnelState:
    """Answer as a tunnel that patients come through."""
    said = {"since": 0, "problem": "", "proxy": "", "proxy_user": "", **CONNECTED}
    return TunnelState(**{name: said[name] for name in TunnelState.__struct_fields__})


@asynccontextmanager
async def answering(
    folder: Path, name: str, interface: Interface, answers: Answers, caller: str
) -> AsyncIterator[Peer]:
    """Answer the verbs of `answers` at a socket of its own, whoever asks being `caller`."""
    path = folder / f"{name}.sock"
    some = Interface(interface.name, {verb.__name__: verb for verb in answers}, interface.description)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        serving = asyncio.ensure_future(serve(listener, [(some, answers)], {os.getuid(): caller}))
        try:
            yield Peer(interface, path)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
