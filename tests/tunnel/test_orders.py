"""Which mode the portal's orders are followed in, by what came of the probes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from appliance.contracts.tunnel import Mode
from appliance.tunnel.orders import SILENT_ROUNDS, NoWay, Orders
from appliance.tunnel.route import Route
from appliance.tunnel.tcp import Probed

PATIENCE_S = 5.0


class Network:
    """A dialler whose probes come out as they are set here, and work connections that are only noted."""

    def __init__(self, **outcomes: Probed) -> None:
        self.outcomes = outcomes
        self.probed: list[str] = []
        self.opened: list[str] = []

    async def probe_raw(self, _: bytes, __: float) -> Probed:
        return self._probe("raw")

    async def probe_wrapped(self, _: bytes, __: float) -> Probed:
        return self._probe("wrapped")

    def _probe(self, mode: str) -> Probed:
        self.probed.append(mode)
        return self.outcomes[mode]

    def open(self, _: object, mode: str, __: bytes, ___: object) -> None:
        self.opened.append(mode)


def orders_in(folder: Path, network: Network, known: Mode | None) -> tuple[Orders, Route]:
    route = Route(folder, time.time, 86_400.0)
    if known:
        route.found(known)
    anything: Any = network
    return Orders(anything, anything, route, 1.0, uses=lambda _: None), route


async def follow(orders: Orders, network: Network, count: int) -> BaseException | None:
    """Order one after the other until `count` probes were made; give what it ended with, if it did."""
    running = asyncio.ensure_future(orders.run())
    async with asyncio.timeout(PATIENCE_S):
        while not running.done() and len(network.probed) < count:
            orders.follow(b"t" * 16)
            await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    if running.done():
        return running.exception()
    running.cancel()
    return None


@pytest.mark.parametrize("known", [None, "raw", "wrapped"])
async def test_what_worked_last_is_probed_first_and_the_best_without_that(tmp_path: Path, known: Mode | None) -> None:
    network = Network(raw="works", wrapped="works")
    orders, _ = orders_in(tmp_path, network, known)
    assert await follow(orders, network, 1) is None
    assert network.probed == [known or "raw"]
    assert orders.mode == (known or "raw")


async def test_blocked_in_both_ends_the_session_at_once(tmp_path: Path) -> None:
    network = Network(raw="blocked", wrapped="blocked")
    orders, _ = orders_in(tmp_path, network, "raw")
    assert isinstance(await follow(orders, network, 99), NoWay)
    assert network.probed == ["raw", "wrapped"]


async def test_a_portal_that_is_slow_for_a_while_is_not_taken_for_a_network_that_blocks(tmp_path: Path) -> None:
    network = Network(raw="silent", wrapped="silent")
    orders, route = orders_in(tmp_path, network, "raw")
    running = asyncio.ensure_future(follow(orders, network, 5))
    while len(network.probed) < 2 * (SILENT_ROUNDS - 1):
        await asyncio.sleep(0)
    network.outcomes["raw"] = "works"
    assert await running is None
    assert (orders.mode, route.mode) == ("raw", "raw")


async def test_a_network_that_swallows_what_worked_before_is_believed_after_some_rounds(tmp_path: Path) -> None:
    network = Network(raw="silent", wrapped="blocked")
    orders, _ = orders_in(tmp_path, network, "raw")
    assert isinstance(await follow(orders, network, 99), NoWay)
    assert network.probed == ["raw", "wrapped"] * SILENT_ROUNDS


async def test_where_nothing_worked_yet_silence_is_believed_at_once(tmp_path: Path) -> None:
    network = Network(raw="silent", wrapped="silent")
    orders, _ = orders_in(tmp_path, network, None)
    assert isinstance(await follow(orders, network, 99), NoWay)
    assert network.probed == ["raw", "wrapped"]


async def test_what_is_known_already_is_not_written_again(tmp_path: Path) -> None:
    route = Route(tmp_path, time.time, 86_400.0)
    route.found("raw")
    (tmp_path / "route.json").unlink()
    route.found("raw")
    assert not (tmp_path / "route.json").exists()
    route.found("wrapped")
    assert (tmp_path / "route.json").exists()
