"""Bytes through the tunnel: rate, CPU seconds per gigabyte at box and relay, a request's time, readers that stall.

All sides stand at once and are measured in turns, another one first in each round; a figure is the median over rounds of
the ratio within a round. CPU is the processes' own clock, so that of the patients does not count; but on a machine of two
processors patients, relay and box share them, so rates of a tunnel are lower than on three machines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.figures import Figure, Goal
from tests.bench.tunnel_programs import memory
from tests.bench.tunnel_sides import Side

MIB = 1 << 20
STALLED = 8
SNITUN = "snitun"


@dataclass(frozen=True)
class Sizes:
    """How much is measured, and how often."""

    rounds: int = 5
    one_bytes: int = 256 * MIB
    streams: int = 50
    stream_bytes: int = 10 * MIB
    requests: int = 2000
    stall_rounds: int = 3
    stall_settle_s: float = 2.0


SHORT = Sizes(
    rounds=1, one_bytes=4 * MIB, streams=5, stream_bytes=MIB // 4, requests=20, stall_rounds=1, stall_settle_s=0.2
)


@dataclass(frozen=True)
class Transfer:
    """What one download, or several at once, took."""

    mb_per_s: float
    box_s_per_gb: float
    relay_s_per_gb: float
    failed: int


def transfer(side: Side, streams: int, size: int) -> Transfer:
    """Download and count; only snitun may fail some of many, ours may not."""
    before = side.costs()
    said = side.load.run("downloads", streams=streams, bytes=size)
    after = side.costs()
    failed = len(said["errors"])
    if failed and side.name != SNITUN:
        raise RuntimeError(f"{failed} of {streams} downloads failed at {side.name}: {said['errors'][:3]}")
    gigabytes = max(said["bytes"], 1) / 1e9
    return Transfer(
        said["bytes"] / 1e6 / said["seconds"],
        (after[0] - before[0]) / gigabytes,
        (after[1] - before[1]) / gigabytes,
        failed,
    )


@dataclass(frozen=True)
class Round:
    """What one side showed in one round."""

    one: Transfer
    many: Transfer
    request_s: float


def measure_side(side: Side, sizes: Sizes) -> Round:
    """Measure one side once."""
    one = transfer(side, 1, sizes.one_bytes)
    many = transfer(side, sizes.streams, sizes.stream_bytes)
    asked = side.load.run("requests", count=sizes.requests, warm=sizes.requests // 10)
    return Round(one, many, asked["p50_s"])


def in_turns(sides: Sequence[Side], rounds: int, measure_one: Callable[[Side], Round]) -> dict[str, list[Round]]:
    """Measure every side in each round; each round begins with the next one."""
    found: dict[str, list[Round]] = {side.name: [] for side in sides}
    for number in range(rounds):
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            found[side.name].append(measure_one(side))
            one = found[side.name][-1].one
            print(
                f"  round {number + 1} of {rounds}, {side.name}: {one.mb_per_s:.0f} MB/s, box {one.box_s_per_gb:.2f} s/GB",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    return found


def measure(sides: Sequence[Side], sizes: Sizes) -> list[Figure]:
    """Measure all sides; one not opened has no figures."""
    for side in sides:  # the first download makes buffers and code warm
        transfer(side, 1, sizes.one_bytes)
        transfer(side, sizes.streams, sizes.stream_bytes)
    rounds = in_turns(sides, sizes.rounds, lambda side: measure_side(side, sizes))
    figures = rates(rounds)
    for side in sides:
        if side.name != "direct":
            figures += stalls(side, sizes)
    return figures


def rates(rounds: Mapping[str, Sequence[Round]]) -> list[Figure]:
    """Make the figures of what was measured in turns."""

    def against(name: str, unit: str, one: str, other: str, of: Callable[[Round], float], goal: Goal | None) -> None:
        if one in rounds and other in rounds:
            pairs = tuple((of(first), of(second)) for first, second in zip(rounds[one], rounds[other], strict=True))
            figures.append(Figure(f"{name}, {one} against {other}", unit, pairs, goal))

    figures: list[Figure] = []
    cpu, relay = "box CPU, 1 stream", "relay CPU, 1 stream"
    single, many = "throughput, 1 stream", "throughput, 50 streams"
    against(cpu, "s/GB", "work", "direct", lambda round_: round_.one.box_s_per_gb, Goal(1.10, at_most=True))
    against(cpu, "s/GB", "work", SNITUN, lambda round_: round_.one.box_s_per_gb, Goal(0.5, at_most=True))
    against(relay, "s/GB", "work", SNITUN, lambda round_: round_.one.relay_s_per_gb, Goal(0.33, at_most=True))
    for name, of in ((single, lambda round_: round_.one.mb_per_s), (many, lambda round_: round_.many.mb_per_s)):
        against(name, "MB/s", "work", SNITUN, of, Goal(2))
        against(name, "MB/s", "work", "direct", of, Goal(0.85))
        against(name, "MB/s", "streams", SNITUN, of, Goal(0.7))
        against(f"{name} (stretch)", "MB/s", "streams", SNITUN, of, Goal(1))
        against(name, "MB/s", "wrapped", "direct", of, None)
    for one in ("wrapped", "streams"):
        against(cpu, "s/GB", one, SNITUN, lambda round_: round_.one.box_s_per_gb, None)
        against(relay, "s/GB", one, SNITUN, lambda round_: round_.one.relay_s_per_gb, None)
    against("box CPU, 50 streams", "s/GB", "work", "direct", lambda round_: round_.many.box_s_per_gb, None)
    against("box CPU, 50 streams", "s/GB", "work", SNITUN, lambda round_: round_.many.box_s_per_gb, None)
    for name in (name for name in rounds if name != "direct" and "direct" in rounds):
        added = tuple(
            ((tunnel.request_s - direct.request_s) * 1e6, None)
            for tunnel, direct in zip(rounds[name], rounds["direct"], strict=True)
        )
        goal = Goal(100, on="value", at_most=True) if name == "work" else None
        figures.append(Figure(f"added latency of a request, p50, {name} on loopback", "µs", added, goal))
    if SNITUN in rounds:
        failed = tuple((float(round_.many.failed), None) for round_ in rounds[SNITUN])
        figures.append(Figure("failed downloads of 50 at once, snitun", "downloads", failed))
    return figures


def stalls(side: Side, sizes: Sizes) -> list[Figure]:
    """A live download beside 8 readers that have stopped, against the same without them; and what they cost in memory."""
    pairs, box_growth, relay_growth = [], [], []
    for number in range(sizes.stall_rounds):
        alone = transfer(side, 1, sizes.one_bytes).mb_per_s if number % 2 else None
        before = [memory(pid).rss for pid in side.pids]
        with side.load.stalled(STALLED):
            time.sleep(sizes.stall_settle_s)
            beside = transfer(side, 1, sizes.one_bytes).mb_per_s
            after = [memory(pid).rss for pid in side.pids]
        if alone is None:
            alone = transfer(side, 1, sizes.one_bytes).mb_per_s
        pairs.append((beside, alone))
        growth = [(late - early) / STALLED / 1e6 for early, late in zip(before, after, strict=True)]
        box_growth.append((growth[0], None))
        relay_growth.append((growth[-1], None))
    ours = side.name != SNITUN
    keeps, most = (Goal(0.8), Goal(2, on="value", at_most=True)) if ours else (None, None)
    return [
        Figure(f"live download beside {STALLED} stalled readers, {side.name}", "MB/s", tuple(pairs), keeps),
        Figure(f"memory per stalled reader, box, {side.name}", "MB", tuple(box_growth), most),
        Figure(f"memory per stalled reader, relay, {side.name}", "MB", tuple(relay_growth), most),
    ]
