"""What a practice's uplink does to the tunnel: small requests beside bulk, a new connection's round trips, a silent cut.

The line carries 40 Mbit/s upward with 20 ms each way and gives every connection its turn, as a router with flow queueing
does (RFC 8290); measured beside it, without a goal, is the same line with one queue for all that drops at its end.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Figure, Goal
from tests.bench.tunnel_namespaces import DELAY_MS, ROUND_TRIP_S, line
from tests.bench.tunnel_sides import OURS, Side, opened

BULK = 3
GOALS = {"work": Goal(1.5, at_most=True), "streams": Goal(4, at_most=True)}
CUT_GOAL = Goal(45, on="value", at_most=True)


@dataclass(frozen=True)
class Sizes:
    """How much is measured, and how often."""

    rounds: int = 3
    idle_requests: int = 20
    requests: int = 25
    settle_s: float = 3.0
    connects: int = 8
    cuts: int = 2
    away_s: float = 30.0


SHORT = Sizes(rounds=1, idle_requests=3, requests=4, settle_s=0.3, connects=2, cuts=0)


def measure(names: Sequence[str], python: Path, folder: Path, load: Path, link: Path, sizes: Sizes) -> list[Figure]:
    """Give the figures of all sides that are named."""
    figures = []
    for queue in ("fair",) if sizes is SHORT else ("fair", "fifo"):
        place = folder / queue
        place.mkdir()
        with line(link, queue=queue) as laid, contextlib.ExitStack() as stack:
            sides = [stack.enter_context(opened(name, python, place / name, load, laid.places)) for name in names]
            figures += beside_bulk(sides, sizes, queue)
            if queue == "fair":
                figures += round_trips(sides, sizes)
    return [*figures, *silent_cuts([name for name in names if name in OURS], python, folder, load, link, sizes)]


def beside_bulk(sides: Sequence[Side], sizes: Sizes, queue: str) -> list[Figure]:
    """A small request beside three downloads, against the same request on an idle line."""
    times: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    rates: dict[str, list[tuple[float, None]]] = {side.name: [] for side in sides}
    for number in range(sizes.rounds if queue == "fair" else 1):
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            idle = side.load.run("requests", count=sizes.idle_requests, warm=2)["p50_s"]
            busy = side.load.run("beside", streams=BULK, count=sizes.requests, settle_s=sizes.settle_s, pause_s=0.05)
            times[side.name].append((busy["p50_s"] * 1e3, idle * 1e3))
            rates[side.name].append((busy["bulk_bytes_per_s"] / 1e6, None))
            print(
                f"  {queue} line, {side.name}: {busy['p50_s'] * 1e3:.0f} ms, idle {idle * 1e3:.0f} ms",
                file=sys.stderr,
                flush=True,
            )
    what = "" if queue == "fair" else " (one queue for all)"
    figures = []
    for side in sides:
        goal = GOALS.get(side.name) if queue == "fair" else None
        figures.append(
            Figure(
                f"request beside {BULK} downloads against idle{what}, {side.name}",
                "ms",
                tuple(times[side.name]),
                goal,
            )
        )
        figures.append(Figure(f"bulk meanwhile{what}, {side.name}", "MB/s", tuple(rates[side.name])))
    return figures


def round_trips(sides: Sequence[Side], sizes: Sizes) -> list[Figure]:
    """A new connection (TCP, TLS 1.3, first answer) against one without a tunnel, in round trips of the line."""
    took = {side.name: side.load.run("connects", count=sizes.connects, pause_s=0.4)["p50_s"] for side in sides}
    figures = []
    for name in took:
        if name != "direct":
            extra = max(0.0, (took[name] - took["direct"]) / ROUND_TRIP_S)
            goal = Goal(0, on="value", at_most=True) if name == "work" else None
            figures.append(
                Figure(
                    f"extra round trips of a new connection, {name}",
                    "round trips",
                    ((float(round(extra)), None),),
                    goal,
                )
            )
        figures.append(
            Figure(f"new connection over {2 * DELAY_MS} ms there and back, {name}", "ms", ((took[name] * 1e3, None),))
        )
    return figures


@dataclass(frozen=True)
class Cut:
    """What a silent cut took, in seconds: until the box noticed, until a patient was served; and after a dead line."""

    noticed_s: float
    served_s: float
    back_s: float


def silent_cuts(
    names: Sequence[str], python: Path, folder: Path, load: Path, link: Path, sizes: Sizes
) -> list[Figure]:
    """Cut in every mode, each time on a line of its own, all at once: nearly all of it is waiting."""
    if not sizes.cuts:
        return []

    def cut(name: str, number: int) -> Cut:
        return silent_cut(name, python, folder / f"cut-{name}-{number}", load, link, sizes)

    with ThreadPoolExecutor(len(names) * sizes.cuts) as threads:
        running = {name: [threads.submit(cut, name, number) for number in range(sizes.cuts)] for name in names}
        found = {name: [one.result() for one in several] for name, several in running.items()}
    figures = []
    for name, cuts in found.items():
        for what, seconds in (
            ("silent cut until the box notices", [cut.noticed_s for cut in cuts]),
            ("silent cut until a patient is served", [cut.served_s for cut in cuts]),
            (f"served again after {sizes.away_s:.0f} s without a line", [cut.back_s for cut in cuts]),
        ):
            figures.append(Figure(f"{what}, {name}", "s", tuple((one, None) for one in seconds), CUT_GOAL))
    return figures


def silent_cut(name: str, python: Path, folder: Path, load: Path, link: Path, sizes: Sizes) -> Cut:
    """The line loses every connection that stands, as a router that forgot its table; then nothing passes for a while."""
    with line(link, rate=0, delay_ms=1) as laid, opened(name, python, folder, load, laid.places) as side:
        began = time.monotonic()
        laid.command("forget")
        served_s = side.load.until_served(pause_s=0.5)
        left = side.box.hear(lambda said: said.get("state", "connected") != "connected", timeout_s=60)
        noticed_s = left["at"] - began
        side.box.hear(lambda said: said.get("state") == "connected", timeout_s=60)  # lines come in order
        laid.command("cut")
        time.sleep(sizes.away_s)
        laid.command("restore")
        cut = Cut(noticed_s, served_s, side.load.until_served(pause_s=0.5))
    print(
        f"  cut, {name}: noticed {cut.noticed_s:.0f} s, served {cut.served_s:.0f} s, back {cut.back_s:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return cut
