"""Leases in a real Redis: said, renewed, ended by themselves, and never needed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from provisioning.portal import front, leases
from provisioning.portal.leases import Leases
from tests.portal.haproxy import free_ports
from tests.portal.simulated_box import patient_tls
from tests.portal.test_front import settings_in
from tests.portal.test_several import Relays

BOXES = frozenset(bytes([number]) * 16 for number in range(5))
RELAY = "relay1.example:443"


async def start_redis(folder: Path) -> asyncio.subprocess.Process:
    """Run a Redis that keeps nothing, on a socket in `folder`."""
    process = await asyncio.create_subprocess_exec(
        *("redis-server", "--port", "0", "--unixsocket", str(folder / "redis.sock"), "--save", ""),
        *("--dir", str(folder)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(10):
        while b"eady to accept connections" not in (line := await process.stdout.readline()):
            assert line, "redis-server did not start"
    return process


async def end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.communicate()


@asynccontextmanager
async def keeping(url: str, boxes: Callable[[], frozenset[bytes]]) -> AsyncIterator[Leases]:
    kept = Leases(url)
    task = asyncio.create_task(kept.keep(RELAY, boxes))
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.wait([task])
        await kept.close()


async def until(seen: Leases, wanted: frozenset[bytes] | None) -> None:
    async with asyncio.timeout(10):
        while True:
            held = await seen.held_by([RELAY])
            if (held[RELAY] if held is not None else None) == wanted:
                return
            await asyncio.sleep(0.02)


async def test_a_relays_boxes_are_said_and_come_back_after_redis_forgot_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "INTERVAL_S", 0.02)
    monkeypatch.setattr(leases, "BATCH", 2)
    url = f"unix://{tmp_path}/redis.sock"
    held = BOXES
    seen = Leases(url)
    redis = await start_redis(tmp_path)
    try:
        async with keeping(url, lambda: held) as relay:
            await until(seen, BOXES)
            held = BOXES - {bytes(16)}
            await until(seen, held)
            await seen.give_up(RELAY)  # a Redis that forgets and stays up
            await until(seen, held)
            await end(redis)
            await until(seen, None)
            async with asyncio.timeout(10):
                while not relay.failures:
                    await asyncio.sleep(0.02)
            assert seen.failures
            redis = await start_redis(tmp_path)
            held = held | {b"x" * 16}
            await until(seen, held)
            await relay.give_up(RELAY)
    finally:
        await end(redis)
        await seen.close()


async def test_a_relay_that_died_has_no_boxes_when_its_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "INTERVAL_S", 0.02)
    monkeypatch.setattr(leases, "LEASE_S", 1)
    url = f"unix://{tmp_path}/redis.sock"
    redis = await start_redis(tmp_path)
    seen = Leases(url)
    try:
        async with keeping(url, lambda: BOXES):
            await until(seen, BOXES)
        await until(seen, frozenset())
    finally:
        await end(redis)
        await seen.close()


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_the_front_prefers_the_relay_that_has_the_box_and_without_redis_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A box that reaches its second choice only; then Redis is killed under relay and front."""
    monkeypatch.setattr(leases, "INTERVAL_S", 0.05)
    monkeypatch.setattr(front, "LOOK_INTERVAL_S", 0.05)
    relays = Relays(tmp_path, free_ports(2))
    redis = await start_redis(tmp_path)
    url = f"unix://{tmp_path}/redis.sock"
    settings = settings_in(tmp_path, [], relays=relays.names, relay_fronts=relays.fronts, leases=url)
    first, second = (relays.names.index(relay) + 1 for relay in (relays.first, relays.second))
    stopped = asyncio.Event()

    def mapped() -> str:
        return settings.boxes_map.read_text() if settings.boxes_map.exists() else ""

    async def until_mapped(pair: str) -> None:
        async with asyncio.timeout(10):
            while mapped() != f"{relays.box.host_name} {pair}\n":
                await asyncio.sleep(0.02)

    async with relays.relay(relays.second, leases=url) as portal, asyncio.TaskGroup() as group:
        following = group.create_task(front.follow(settings, stopped))
        try:
            await until_mapped(f"boxes_{first}_{second}")
            async with relays.box.serve(portal):
                await until_mapped(f"boxes_{second}_{first}")
                await end(redis)
                await until_mapped(f"boxes_{first}_{second}")
                reader, writer = await patient_tls(portal.port, relays.box)
                assert await reader.readline() == relays.box.host_name.encode() + b"\n"
                writer.close()
                async with asyncio.timeout(10):
                    while not portal.counts.lease_failures:
                        await asyncio.sleep(0.02)
                redis = await start_redis(tmp_path)
                await until_mapped(f"boxes_{second}_{first}")
        finally:
            stopped.set()
            await end(redis)
    assert following.done()
