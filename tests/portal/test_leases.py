"""Leases in a real Redis: said, renewed, ended by themselves, and never needed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from provisioning.portal import leases
from provisioning.portal.leases import Leases

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


async def until(front: Leases, wanted: frozenset[bytes] | None) -> None:
    async with asyncio.timeout(10):
        while True:
            held = await front.held_by([RELAY])
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
    front = Leases(url)
    redis = await start_redis(tmp_path)
    try:
        async with keeping(url, lambda: held) as relay:
            await until(front, BOXES)
            held = BOXES - {bytes(16)}
            await until(front, held)
            await end(redis)
            await until(front, None)
            async with asyncio.timeout(10):
                while not relay.failures:
                    await asyncio.sleep(0.02)
            assert front.failures
            redis = await start_redis(tmp_path)
            held = held | {b"x" * 16}
            await until(front, held)
            await relay.give_up(RELAY)
    finally:
        await end(redis)
        await front.close()


async def test_a_relay_that_died_has_no_boxes_when_its_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "INTERVAL_S", 0.02)
    monkeypatch.setattr(leases, "LEASE_S", 1)
    url = f"unix://{tmp_path}/redis.sock"
    redis = await start_redis(tmp_path)
    front = Leases(url)
    try:
        async with keeping(url, lambda: BOXES):
            await until(front, BOXES)
        await until(front, frozenset())
    finally:
        await end(redis)
        await front.close()
