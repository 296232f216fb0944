"""A practice whose network lets nothing out but through an HTTP proxy with a password."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from appliance.contracts.tunnel import ReadState, RemoveProxy, SetProxy, TunnelState
from appliance.core.errors import PraxisError, Refused, Unavailable
from appliance.core.varlink import Caller
from appliance.tunnel.answers import make_answers
from appliance.tunnel.problems import dial_problem
from tests.portal.simulated_box import SimulatedBox, portal_in
from tests.simulators.connect_proxy import connect_proxy
from tests.simulators.router import router
from tests.tunnel.running_tunnel import Tunnel, tunnel_to, visit
from tests.tunnel.test_tunnel import hostile_portal

USER, PASSWORD = "praxis", "geheim: äöü"
PRACTICE = Caller("practice")


async def ask(tunnel: Tunnel, call: ReadState | SetProxy | RemoveProxy) -> object:
    answers = make_answers(tunnel.status, tunnel.route, tunnel.keepers)
    return await answers[type(call)](call, PRACTICE)


async def test_patients_reach_the_box_through_a_proxy_and_nothing_goes_around_it(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with (
        portal_in(tmp_path) as portal,
        router(portal.port) as network,
        connect_proxy(portal.port, USER, PASSWORD) as proxy,
    ):
        network.lets = lambda _: False
        portal.registry.register(box.record())
        async with tunnel_to(tmp_path, network.port, portal.authority_path, box) as tunnel:
            await tunnel.until("connecting")
            address = f"127.0.0.1:{proxy.port}"
            await ask(tunnel, SetProxy(address=address, user=USER, password=PASSWORD))
            await tunnel.until("connected", mode="streams")
            went_around = len(network.came)
            await asyncio.gather(*(visit(portal.port, box, bytes(300_000)) for _ in range(4)))
            state = await ask(tunnel, ReadState())
            assert isinstance(state, TunnelState)
            assert (state.mode, state.proxy, state.proxy_user) == ("streams", address, USER)
            assert PASSWORD not in repr(state)
            assert PASSWORD not in repr(tunnel.route.proxy)
            proxy.cut("tls")
            await tunnel.until("connecting")
            await tunnel.until("connected", mode="streams")
            assert len(network.came) == went_around
        async with tunnel_to(tmp_path, network.port, portal.authority_path, box) as tunnel:  # kept over a restart
            await tunnel.until("connected", mode="streams")
            network.lets = lambda _: True
            await ask(tunnel, RemoveProxy())
            await tunnel.until("connected", mode="raw")
        assert {line.split()[0] for line in proxy.asked} == {"CONNECT"}
        assert {line.split()[1] for line in proxy.asked} == {f"127.0.0.1:{network.port}"}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", Refused("proxy_refused")),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", Refused("proxy_forbids")),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Unavailable("proxy_silent")),
        (b"HTTP/1.1 200 and then it hangs up\r\n\r\n", Unavailable("portal_unreachable")),
    ],
)
async def test_a_proxy_that_does_not_work_is_told_and_not_kept(
    tmp_path: Path, answer: bytes, failure: PraxisError
) -> None:
    async with portal_in(tmp_path) as portal, connect_proxy(portal.port, USER, "another") as proxy:
        box = SimulatedBox(tmp_path)
        portal.registry.register(box.record())
        proxy.answer = answer
        async with tunnel_to(tmp_path, portal.port, portal.authority_path, box) as tunnel:
            await tunnel.until("connected", mode="raw")
            with pytest.raises(type(failure)) as told:
                await ask(tunnel, SetProxy(address=f"127.0.0.1:{proxy.port}", user=USER, password=PASSWORD))
            assert told.value.code == failure.code
            assert tunnel.route.proxy is None
            assert tunnel.status.mode == "raw", "and the box was not disturbed"


async def test_a_proxy_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with (
        portal_in(tmp_path) as portal,
        tunnel_to(tmp_path, portal.port, portal.authority_path, SimulatedBox(tmp_path)) as tunnel,
    ):
        with pytest.raises(Unavailable, match="proxy_unreachable"):
            await ask(tunnel, SetProxy(address="127.0.0.1:1", user="", password=""))
        with pytest.raises(PraxisError, match="proxy_address"):
            await ask(tunnel, SetProxy(address="no port", user="", password=""))


def test_a_proxy_that_says_nothing_is_not_called_a_portal_out_of_reach() -> None:
    assert dial_problem(TimeoutError(), through_proxy=True).code == "proxy_silent"
    assert dial_problem(aiohttp.ConnectionTimeoutError(), through_proxy=True).code == "proxy_silent"
    assert dial_problem(TimeoutError(), through_proxy=False).code == "portal_unreachable"


async def test_proxy_credentials_do_not_reach_the_portal(tmp_path: Path) -> None:
    heads: list[str] = []

    async def listen(request: web.Request) -> web.StreamResponse:
        heads.append(f"{request.method} {request.raw_path} {dict(request.headers)}")
        raise web.HTTPNotFound

    async with (
        hostile_portal(tmp_path, listen) as (port, authority),
        connect_proxy(port, USER, PASSWORD) as proxy,
        tunnel_to(tmp_path, port, authority, SimulatedBox(tmp_path)) as tunnel,
    ):
        await ask(tunnel, SetProxy(address=f"127.0.0.1:{proxy.port}", user=USER, password=PASSWORD))
        heads.clear()
        while len(heads) < 4:
            await asyncio.sleep(0.01)
    assert any("/control/streams" in head for head in heads)
    for head in heads:
        assert "proxy" not in head.lower()
        assert "Basic" not in head
        assert "praxis:" not in head


@pytest.mark.parametrize("busy_at", ["/relays", "/control"])
async def test_a_portal_that_is_busy_is_left_alone_as_long_as_it_says(tmp_path: Path, busy_at: str) -> None:
    asked: list[float] = []

    async def busy(request: web.Request) -> web.StreamResponse:
        if not request.path.startswith(busy_at):
            raise web.HTTPNotFound
        asked.append(time.monotonic())
        return web.Response(status=503, headers={"Retry-After": "1"})

    async with (
        hostile_portal(tmp_path, busy) as (port, authority),
        tunnel_to(tmp_path, port, authority, SimulatedBox(tmp_path), backoff_cap_s=5.0) as tunnel,
    ):
        while len(asked) < 3:
            await asyncio.sleep(0.01)
        assert tunnel.status.problem == "portal_busy"
    assert min(later - before for before, later in itertools.pairwise(asked)) >= 1.0


async def test_a_password_is_kept_for_the_same_address_and_user_only(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with (
        portal_in(tmp_path) as portal,
        connect_proxy(portal.port, USER, PASSWORD) as proxy,
        connect_proxy(portal.port, USER, PASSWORD) as another,
    ):
        portal.registry.register(box.record())
        async with tunnel_to(tmp_path, portal.port, portal.authority_path, box) as tunnel:
            address = f"127.0.0.1:{proxy.port}"
            await ask(tunnel, SetProxy(address=address, user=USER, password=PASSWORD))
            await ask(tunnel, SetProxy(address=address, user=USER))
            for other in (SetProxy(address=f"127.0.0.1:{another.port}", user=USER), SetProxy(address=address)):
                with pytest.raises(Refused, match="proxy_refused"):
                    await ask(tunnel, other)
