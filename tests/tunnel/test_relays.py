"""Several relays: a box keeps its two, by the list it is given, and goes where the list leads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from appliance.formats.rendezvous import choose_relays
from provisioning.portal.portal import Portal
from tests.portal.simulated_box import SimulatedBox, portal_in
from tests.simulators.portal_process import free_port
from tests.tunnel.running_tunnel import Tunnel, tunnel_to, visit

RELAYS = 3


class Relays:
    """Relays of one authority, by address; a box's two, and the one that is not among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box = SimulatedBox(folder)
        self.ports: dict[str, int] = {}
        while len(self.ports) < RELAYS:
            port = free_port()
            self.ports[f"127.0.0.1:{port}"] = port
        self.first, self.second = choose_relays(self.box.box, self.ports)
        (self.other,) = self.ports.keys() - {self.first, self.second}

    @asynccontextmanager
    async def relay(self, address: str, listed: tuple[str, ...] = ()) -> AsyncIterator[Portal]:
        """Run one that names `listed`, or all."""
        relays = listed or tuple(self.ports)
        async with portal_in(self.folder, listen_port=self.ports[address], relays=relays) as portal:
            portal.registry.register(self.box.record())
            yield portal

    @asynccontextmanager
    async def tunnel(self, portal: Portal, at: str, **settings: object) -> AsyncIterator[Tunnel]:
        async with tunnel_to(self.folder, self.ports[at], portal.authority_path, self.box, **settings) as tunnel:
            yield tunnel

    def has(self, portal: Portal) -> bool:
        return portal.boxes.get(self.box.box) is not None


async def until(tunnel: Tunnel, connected: int, relays: int = 2) -> None:
    async with asyncio.timeout(10):
        while (tunnel.status.connected, tunnel.status.relays) != (connected, relays):
            await asyncio.sleep(0.01)


async def test_a_box_keeps_the_two_relays_that_are_its_own_whichever_it_was_told_to_ask(tmp_path: Path) -> None:
    relays = Relays(tmp_path)
    async with AsyncExitStack() as stack:
        portals = {address: await stack.enter_async_context(relays.relay(address)) for address in relays.ports}
        tunnel = await stack.enter_async_context(relays.tunnel(portals[relays.other], relays.other))
        await until(tunnel, 2)
        assert [relays.has(portals[one]) for one in (relays.first, relays.second, relays.other)] == [
            True,
            True,
            False,
        ]
        for address in (relays.first, relays.second):
            await visit(relays.ports[address], relays.box, bytes(100_000))


async def test_with_one_relay_gone_the_other_serves_and_the_box_comes_back_to_both(tmp_path: Path) -> None:
    relays = Relays(tmp_path)
    async with (
        relays.relay(relays.other) as other,
        relays.relay(relays.first),
        relays.tunnel(other, relays.other) as tunnel,
    ):
        async with relays.relay(relays.second):
            await until(tunnel, 2)
        await until(tunnel, 1)
        assert tunnel.status.state == "connected"
        await visit(relays.ports[relays.first], relays.box, bytes(100_000))
        async with relays.relay(relays.second):
            await until(tunnel, 2)
            await visit(relays.ports[relays.second], relays.box, bytes(100_000))


async def test_a_relay_that_leaves_the_list_is_left_when_the_list_is_read_again(tmp_path: Path) -> None:
    relays = Relays(tmp_path)
    async with (
        relays.relay(relays.first) as first,
        relays.relay(relays.second) as second,
        AsyncExitStack() as asked,
    ):
        await asked.enter_async_context(relays.relay(relays.other))
        async with relays.tunnel(first, relays.other, relays_daily_s=0.3) as tunnel:
            await until(tunnel, 2)
            await asked.aclose()
            async with relays.relay(relays.other, (relays.first, relays.other)) as other:
                async with asyncio.timeout(10):
                    while not relays.has(other) or relays.has(second):
                        await asyncio.sleep(0.01)
                await until(tunnel, 2)
                assert relays.has(first)
