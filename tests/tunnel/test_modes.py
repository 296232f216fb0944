"""How the box gets through: what stands in its way decides the mode, a wrong certificate never does."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.contracts.tunnel import Mode
from provisioning.portal.authority import Authority
from provisioning.portal.portal import Portal
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox, patient_tls, portal_in
from tests.simulators.router import Router, router
from tests.tunnel.running_tunnel import Tunnel, tunnel_to, visit

HALF_A_MEGABYTE = bytes(range(256)) * 2048


def everything(_: Router, __: str) -> bool:
    return True


def only_tls(_: Router, kind: str) -> bool:
    return kind == "tls"


def one_connection(between: Router, _: str) -> bool:
    return not between.ways


IN_THE_WAY = {"raw": everything, "wrapped": only_tls, "streams": one_connection}
MODES = pytest.mark.parametrize("mode", IN_THE_WAY)


class Scene:
    """A portal, what stands before it, and what is needed to run a box's tunnel behind that."""

    def __init__(self, folder: Path, portal: Portal, between: Router) -> None:
        self.folder, self.portal, self.between = folder, portal, between
        self.box = SimulatedBox(folder)
        portal.registry.register(self.box.record())

    @asynccontextmanager
    async def tunnel(self, mode: Mode | None, **settings: object) -> AsyncIterator[Tunnel]:
        authority = self.portal.authority_path
        chosen = {"probe_timeout_s": 1.0, **settings}
        async with tunnel_to(self.folder, self.between.port, authority, self.box, **chosen) as tunnel:
            if mode:
                await tunnel.until("connected", mode=mode)
            yield tunnel

    def has_in_its_way(self, mode: Mode) -> None:
        self.between.lets = lambda kind: IN_THE_WAY[mode](self.between, kind)

    async def visit(self) -> None:
        await visit(self.portal.port, self.box, HALF_A_MEGABYTE)


@asynccontextmanager
async def scene_in(folder: Path, mode: Mode) -> AsyncIterator[Scene]:
    async with portal_in(folder) as portal, router(portal.port) as between:
        scene = Scene(folder, portal, between)
        scene.has_in_its_way(mode)
        yield scene


@MODES
async def test_patients_reach_the_box_whatever_the_network_lets_through(tmp_path: Path, mode: Mode) -> None:
    async with scene_in(tmp_path, mode) as scene, scene.tunnel(mode) as tunnel:
        await asyncio.gather(*(scene.visit() for _ in range(6)))
        assert tunnel.gateway.taken == 6
        assert set(tunnel.gateway.sources) == {"127.0.0.1"}
        assert (tunnel.status.mode, tunnel.route.mode) == (mode, mode)


@MODES
async def test_what_worked_is_tried_first_at_the_next_start(tmp_path: Path, mode: Mode) -> None:
    async with scene_in(tmp_path, mode) as scene:
        async with scene.tunnel(mode):
            pass
        scene.has_in_its_way("raw")  # a better one would work, but is not due
        scene.between.came.clear()
        async with scene.tunnel(mode):
            await scene.visit()
        assert ("work" in scene.between.came) == (mode == "raw")


@pytest.mark.parametrize("mode", ["wrapped", "streams"])
async def test_a_better_mode_is_tried_again_when_it_is_due(tmp_path: Path, mode: Mode) -> None:
    async with scene_in(tmp_path, mode) as scene, scene.tunnel(mode, retry_better_s=0.3) as tunnel:
        await asyncio.sleep(0.5)
        assert tunnel.status.mode in (mode, None)  # in vain, as long as the network is as it was
        scene.has_in_its_way("raw")
        # In wrapped mode an order is what a probe is made with, so a patient has to come; while the box changes from
        # streams to something better, one may find nobody there.
        for _ in range(50):
            with contextlib.suppress(OSError):
                await scene.visit()
            if tunnel.status.mode == "raw":
                break
        await tunnel.until("connected", mode="raw")
        await scene.visit()


async def test_a_network_that_lets_raw_connections_through_no_longer_is_noticed(tmp_path: Path) -> None:
    async with scene_in(tmp_path, "raw") as scene, scene.tunnel("raw") as tunnel:
        scene.has_in_its_way("wrapped")
        scene.between.cut("work")
        scene.between.cut("tls")
        await tunnel.until("connected", mode="wrapped")
        await scene.visit()


async def test_wrong_certificate_never_leads_to_another_mode(tmp_path: Path) -> None:
    """Control passes; wrapped connections end at somebody with a certificate of his own."""
    his = Authority(tmp_path / "his", PORTAL_NAME, datetime.datetime.now(datetime.UTC))
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=his.context(datetime.datetime.now(datetime.UTC)))
    his_port = server.sockets[0].getsockname()[1]

    async with scene_in(tmp_path, "raw") as scene:
        scene.between.lets = lambda kind: kind == "tls" and (his_port if scene.between.ways else True)
        async with scene.tunnel(None) as tunnel:
            await tunnel.until("refused")
            assert tunnel.status.problem == "portal_certificate"
            sessions = scene.portal.counts.proofs_accepted
            while scene.portal.counts.proofs_accepted < sessions + 3:  # it goes on trying, the same way
                await asyncio.sleep(0.01)
            assert (tunnel.route.mode, tunnel.status.mode) == (None, None)
    server.close()
    assert not any(heard), "not a word was said to him"


async def test_a_portal_that_is_silent_is_left_after_two_pings(tmp_path: Path) -> None:
    async with scene_in(tmp_path, "raw") as scene, scene.tunnel("raw", ping_interval_s=0.1) as tunnel:
        scene.between.frozen = True
        await tunnel.until("connecting")
        assert tunnel.status.problem == "portal_silent"
        scene.between.frozen = False
        await tunnel.until("connected", mode="raw")
        await scene.visit()


async def test_a_new_session_replaces_the_old_at_once(tmp_path: Path) -> None:
    """The old connection is dead, and the portal has not noticed: patients come over the new one all the same."""
    async with scene_in(tmp_path, "raw") as scene, router(scene.portal.port) as other, scene.tunnel("raw"):
        scene.between.frozen = True
        (tmp_path / "again").mkdir()
        authority = scene.portal.authority_path
        async with tunnel_to(tmp_path / "again", other.port, authority, scene.box) as again:
            await again.until("connected", spares=4)
            await scene.visit()
            assert again.gateway.taken == 1


async def test_a_portal_that_drains_cuts_no_patient_in_a_stream_and_newcomers_find_the_box_at_the_next(
    tmp_path: Path,
) -> None:
    """Two portals listen on one port, as during a restart."""
    async with portal_in(tmp_path) as old:
        scene = Scene(tmp_path, old, Router(old.port))
        scene.between.port = old.port
        (tmp_path / "tunnel").mkdir()
        (tmp_path / "tunnel/route.json").write_text(json.dumps({"mode": "streams", "tried_at": time.time()}))
        async with scene.tunnel("streams"):
            reader, writer = await patient_tls(old.port, scene.box)
            await reader.readline()
            async with portal_in(tmp_path, listen_port=old.port) as new:
                draining = asyncio.ensure_future(old.drain())
                async with asyncio.timeout(10):
                    while new.boxes.get(scene.box.box) is None:
                        await asyncio.sleep(0.01)
                await scene.visit()
                assert new.counts.relays == 1
                writer.write(b"still here")
                assert await reader.readexactly(10) == b"still here"
                assert not draining.done()
                writer.close()
                async with asyncio.timeout(10):
                    await draining
                await scene.visit()


async def test_the_portal_is_reached_over_ipv6(tmp_path: Path) -> None:
    async with portal_in(tmp_path) as portal, router(portal.port, host="::1") as between:
        scene = Scene(tmp_path, portal, between)
        async with tunnel_to(tmp_path, between.port, portal.authority_path, scene.box) as tunnel:
            await tunnel.until("connecting")
            tunnel.vault.host = "[::1]"
            await tunnel.until("connected", mode="raw", spares=4)
            await scene.visit()


async def test_a_stalled_patient_in_a_stream_stops_no_other(tmp_path: Path) -> None:
    async with scene_in(tmp_path, "streams") as scene, scene.tunnel("streams"):
        stalled = [await patient_tls(scene.portal.port, scene.box) for _ in range(3)]
        for _, writer in stalled:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(bytes(4 << 20))  # comes back, and is not read
        for _ in range(3):
            await scene.visit()
        for _, writer in stalled:
            writer.transport.abort()
