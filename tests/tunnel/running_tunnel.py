"""A tunnel in this process with simulated peers, connected to a portal of the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from appliance.contracts.gateway import GATEWAY
from appliance.contracts.tunnel import Mode
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer
from appliance.tunnel.keepers import Keepers
from appliance.tunnel.route import Route
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import State, Status
from provisioning.portal.portal import Portal
from tests.portal.simulated_box import SimulatedBox, patient_tls, portal_in
from tests.tunnel.simulated_peers import SimulatedGateway, SimulatedVault, answering

QUICK = TunnelSettings(backoff_first_s=0.02, backoff_cap_s=0.05, peer_patience_s=0.0, relays_pause_s=0.02)


def make_keepers(vault: Peer, gateway: Peer, settings: TunnelSettings) -> tuple[Keepers, Route, Status]:
    """Wire a tunnel together as its program does."""
    status = Status(0)
    route = Route(Path(settings.state), time.time, settings.retry_better_s)
    return Keepers(vault, gateway, settings, route, status), route, status


class Tunnel:
    """A running tunnel with its simulated peers."""

    def __init__(
        self,
        keepers: tuple[Keepers, Route, Status],
        box: SimulatedBox,
        vault: SimulatedVault,
        gateway: SimulatedGateway,
    ) -> None:
        self.keepers, self.route, self.status = keepers
        self.box, self.vault, self.gateway = box, vault, gateway
        self.running = asyncio.ensure_future(self.keepers.run())

    async def until(self, state: State, spares: int = 0, mode: Mode | None = None) -> None:
        async with asyncio.timeout(10):
            while self.status.state != state or self.status.spares < spares or (mode and self.status.mode != mode):
                await asyncio.sleep(0.005)


@asynccontextmanager
async def tunnel_to(
    folder: Path, port: int, authority: Path, box: SimulatedBox, **settings: object
) -> AsyncIterator[Tunnel]:
    """Run a tunnel whose state is in `folder`."""
    vault, gateway = SimulatedVault(box, port, authority), SimulatedGateway(box)
    state = folder / "tunnel"
    state.mkdir(exist_ok=True)
    chosen = msgspec.structs.replace(QUICK, state=str(state), **settings)
    async with (
        answering(folder, "vault", VAULT, vault.answers()) as vault_peer,
        answering(folder, "gateway", GATEWAY, gateway.answers()) as gateway_peer,
    ):
        tunnel = Tunnel(make_keepers(vault_peer, gateway_peer, chosen), box, vault, gateway)
        try:
            yield tunnel
        finally:
            tunnel.running.cancel()
            await asyncio.wait([tunnel.running])


@asynccontextmanager
async def portal_and_tunnel(tmp_path: Path, **settings: object) -> AsyncIterator[tuple[Portal, Tunnel]]:
    """Run both, connected by raw work connections."""
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, **settings) as portal:
        portal.registry.register(box.record())
        async with tunnel_to(tmp_path, portal.port, portal.authority_path, box) as tunnel:
            await tunnel.until("connected", spares=4)
            yield portal, tunnel


async def visit(port: int, box: SimulatedBox, sent: bytes) -> None:
    """Be one patient: every byte comes back."""
    reader, writer = await patient_tls(port, box)
    assert await reader.readline() == box.host_name.encode() + b"\n"
    receiving = asyncio.ensure_future(reader.readexactly(len(sent)))
    writer.write(sent)
    await writer.drain()
    assert await receiving == sent
    writer.close()
