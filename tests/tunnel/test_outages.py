"""Every way to lose the portal, on a real line: tunnel, gateway and portal are the product's own processes.

All outages happen at the same time, each on a line of its own; every test then judges one. What is measured is the time
until a patient who comes anew is served: at most 45 s, whatever happened. How fast a killed portal's boxes come back is
measured by the bench on a quiet machine (goal 5 s).
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from provisioning.portal.authority import Authority
from tests.bench.tunnel_load import build
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox
from tests.simulators.connect_proxy import connect_proxy
from tests.simulators.outer_box import OuterBox, outer_box
from tests.simulators.patient_side import MadeShare
from tests.simulators.portal_process import PortalProcess, portal_process
from tests.simulators.sample_documents import sample_documents
from tests.tunnel.outage_line import NAME, Line, line

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

BACK_S = 45.0
AWAY_S = 35.0
TRY_S = 4.0
LIMIT_S = 90.0
USER, PASSWORD = "praxis", "geheim"


@dataclass
class Scene:
    """A line, the portal at its end, the box behind it, and a share to look at."""

    line: Line
    portal: PortalProcess
    box: OuterBox
    share: MadeShare
    chance: random.Random
    at: str

    async def is_served(self) -> bool:
        """Say whether a patient who comes anew gets an answer from the box."""
        patient = self.box.patient(self.share, port=self.portal.port, at=self.at)
        try:
            async with asyncio.timeout(TRY_S), patient:
                return (await patient.state()).status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def until_served(self) -> float:
        """Give the seconds until a patient is served."""
        began = time.monotonic()
        async with asyncio.timeout(LIMIT_S):
            while not await self.is_served():
                self.box.assert_alive()
                await asyncio.sleep(0.1)
        return time.monotonic() - began

    async def mode(self) -> str:
        return (await self.box.state()).mode

    async def until_problem(self, code: str) -> None:
        async with asyncio.timeout(LIMIT_S):
            while (await self.box.state()).problem != code:
                await asyncio.sleep(0.1)


@asynccontextmanager
async def box_on(
    laid: Line, folder: Path, portal: PortalProcess, identity: SimulatedBox, host: str, route: dict[str, object]
) -> AsyncIterator[OuterBox]:
    """Run the box; `host` is what it dials, `route` what it knows of its way."""
    state = folder / "box/tunnel"
    state.mkdir(parents=True)
    (state / "route.json").write_text(json.dumps(route))
    async with outer_box(
        folder / "box",
        portal.port,
        portal.authority_path,
        identity=identity,
        tunnel={},
        portal_host=host,
        namespace=laid.namespace,
    ) as box:
        yield box


@asynccontextmanager
async def scene_on(laid: Line, folder: Path, *, host: str = "", at: str = "") -> AsyncIterator[Scene]:
    """Run portal and box; `host` is what the box dials, `at` where the portal listens."""
    at = at or laid.portal
    identity = SimulatedBox(folder)
    async with (
        portal_process(folder / "portal", identity, listen_address=at) as portal,
        box_on(laid, folder, portal, identity, host or at, {}) as box,
    ):
        share = box.share(*sample_documents()[:1])
        yield Scene(laid, portal, box, share, random.Random(laid.number), at)


Outage = Callable[[Line, Path], Awaitable[float]]


async def portal_killed(laid: Line, folder: Path) -> float:
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        await scene.portal.kill()
        await scene.portal.start()
        return await scene.until_served()


async def portal_restarted(laid: Line, folder: Path) -> float:
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        await scene.portal.end()
        await scene.portal.start()
        return await scene.until_served()


async def line_forgets(laid: Line, folder: Path) -> float:
    """A router that lost its table: every connection that stands is dead, and nobody says so."""
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        await asyncio.sleep(scene.chance.random() * 5)
        laid.command("forget")
        return await scene.until_served()


async def line_is_away(laid: Line, folder: Path) -> float:
    """Nothing passes for a while; counted from its end."""
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        laid.command("cut")
        await asyncio.sleep(AWAY_S + scene.chance.random() * 5)
        laid.command("restore")
        return await scene.until_served()


async def line_resets(laid: Line, folder: Path) -> float:
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        laid.command("reset")
        return await scene.until_served()


async def box_address_changes(laid: Line, folder: Path) -> float:
    """A router that was started anew gives the box another address; before that it has none for a while."""
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        laid.box_address("del", 1)
        await asyncio.sleep(3 + scene.chance.random() * 3)
        laid.box_address("add", 7)
        return await scene.until_served()


async def portal_moves(laid: Line, folder: Path) -> float:
    """Its name leads elsewhere; the old address is silent."""
    async with scene_on(laid, folder, host=NAME) as scene:
        await scene.until_served()
        await scene.portal.kill()
        laid.portal_address("del", 2)
        laid.portal_address("add", 9)
        scene.at = f"10.209.{laid.number}.9"
        moved = PortalProcess(scene.portal.folder, scene.portal.port, {"listen_address": scene.at})
        await moved.start()
        scene.portal.process = moved.process  # its end is the block's
        laid.name_is_at(scene.at)
        return await scene.until_served()


async def only_a_proxy(laid: Line, folder: Path) -> float:
    """Nothing passes but to the proxy; then every connection is reset."""
    identity = SimulatedBox(folder)
    async with (
        portal_process(folder / "portal", identity, listen_address="127.0.0.1") as portal,
        connect_proxy(portal.port, USER, PASSWORD, host=laid.portal) as proxy,
    ):
        laid.command(f"only {proxy.port}")
        kept = {"host": laid.portal, "port": proxy.port, "user": USER, "password": PASSWORD}
        async with box_on(laid, folder, portal, identity, laid.portal, {"proxy": kept}) as box:
            share = box.share(*sample_documents()[:1])
            scene = Scene(laid, portal, box, share, random.Random(laid.number), "127.0.0.1")
            await scene.until_served()
            assert await scene.mode() == "streams"
            laid.command("reset")
            return await scene.until_served()


async def only_ipv6(laid: Line, folder: Path) -> float:
    async with scene_on(laid, folder, host=f"[{laid.portal_ipv6}]", at=laid.portal_ipv6) as scene:
        await scene.until_served()
        assert await scene.mode() == "raw"
        await scene.portal.kill()
        await scene.portal.start()
        return await scene.until_served()


async def only_tls(laid: Line, folder: Path) -> float:
    """A middle box resets what does not begin as TLS; it comes while the box is connected by raw connections."""
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        assert await scene.mode() == "raw"
        laid.command(f"tls {scene.portal.port}")
        laid.command("reset")
        took = await scene.until_served()
        assert await scene.mode() == "wrapped"
        return took


async def certificate_expires(laid: Line, folder: Path) -> float:
    """The portal comes back with a certificate that has expired, and later with a good one."""
    async with scene_on(laid, folder) as scene:
        await scene.until_served()
        state, now = scene.portal.state_folder, datetime.datetime.now(datetime.UTC)
        shutil.copy(state / "portal-ca.key", folder / "portal-ca.key")
        Authority(state, PORTAL_NAME, now)._make_leaf(now - datetime.timedelta(days=200))
        (state / "portal-ca.key").unlink()  # so that the portal keeps it
        await scene.portal.kill()
        await scene.portal.start()
        await scene.until_problem("portal_certificate_expired")
        proofs = len(scene.box.vault.proofs)
        for _ in range(20):
            assert not await scene.is_served()
            now_is = await scene.box.state()
            assert (now_is.connected, now_is.mode) == (0, "")
            assert now_is.problem == "portal_certificate_expired"
            await asyncio.sleep(0.2)
        assert len(scene.box.vault.proofs) == proofs, "nothing was proved to it"
        shutil.copy(folder / "portal-ca.key", state / "portal-ca.key")
        await scene.portal.kill()
        await scene.portal.start()
        return await scene.until_served()


OUTAGES: tuple[Outage, ...] = (
    portal_killed,
    portal_restarted,
    line_forgets,
    line_is_away,
    line_resets,
    box_address_changes,
    portal_moves,
    only_a_proxy,
    only_ipv6,
    only_tls,
    certificate_expires,
)


@pytest.fixture(scope="module")
def took(tmp_path_factory: pytest.TempPathFactory) -> dict[Outage, float | BaseException]:
    """Let all happen, and give how long each took, or what went wrong."""
    program = build("link", tmp_path_factory.mktemp("link"))

    async def happen(number: int, outage: Outage) -> float:
        folder = tmp_path_factory.mktemp(outage.__name__)
        with line(program, number, ipv6_only=outage is only_ipv6) as laid:
            return await outage(laid, folder)

    async def all_happen() -> list[float | BaseException]:
        happening = [happen(number, outage) for number, outage in enumerate(OUTAGES, 1)]
        return await asyncio.gather(*happening, return_exceptions=True)

    return dict(zip(OUTAGES, asyncio.run(all_happen()), strict=True))


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_the_box_comes_back_by_itself(took: dict[Outage, float | BaseException], outage: Outage) -> None:
    seconds = took[outage]
    if isinstance(seconds, BaseException):
        raise seconds
    print(f"{outage.__name__}: served again after {seconds:.1f} s (seed {OUTAGES.index(outage) + 1})")
    assert seconds <= BACK_S
