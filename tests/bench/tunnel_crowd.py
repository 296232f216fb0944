"""Many boxes at one portal: what an idle tunnel costs it, and how all come back when it was killed. As one process each.

The boxes run tunnel's real keeper with its real back-off. The portal is killed as a crash kills it and started again by
the same settings, as systemd does.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Figure, Goal
from tests.bench.tunnel_portal import Device, Portal, write_portal
from tests.bench.tunnel_programs import Program, memory
from tests.bench.tunnel_sides import LOOPBACK, SPARES, free_port, opened

SETTLE_S = 3.0


@dataclass(frozen=True)
class Sizes:
    """How many boxes, and how often one is brought back."""

    boxes: int = 2000
    kills: int = 5
    #: The first time they come one after the other, so that this shows memory and not a storm.
    spread_s: float = 30.0
    away_s: float = 2.0
    timeout_s: float = 180.0


SHORT = Sizes(boxes=6, kills=1, spread_s=0.5, away_s=0.1, timeout_s=30)


def measure(python: Path, folder: Path, load: Path, sizes: Sizes) -> list[Figure]:
    """Give the figures of the crowd, and of one box whose portal is killed."""
    raise_file_limit()
    figures = []
    for spares in (0, SPARES):
        figures += idle_memory(python, folder / f"crowd-{spares}", spares, sizes)
    return [*figures, *portal_killed(python, folder, load, sizes)]


def raise_file_limit() -> None:
    """The children inherit it: a box holds its control connection and its spares, the portal the other ends."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def idle_memory(python: Path, folder: Path, spares: int, sizes: Sizes) -> list[Figure]:
    """Have all boxes log in, look at the portal's memory; with spares, kill it and wait for all of them."""
    folder.mkdir()
    devices = [Device.make() for _ in range(sizes.boxes)]
    port = free_port(LOOPBACK, None)
    limits = {"max_connections": 10 * sizes.boxes + 100, "spare_connections": spares}
    settings = write_portal(folder, LOOPBACK, port, devices, **limits)
    with contextlib.ExitStack() as stack:
        portal = Portal(python, settings)
        stack.callback(lambda: portal.end())
        portal.until_ready()
        before = memory(portal.pid)
        boxes = folder / "boxes.json"
        boxes.write_text(
            json.dumps(
                {
                    "boxes": [device.settings(folder, f"{LOOPBACK}:{port}") for device in devices],
                    "tunnel": {},
                    "spread_s": sizes.spread_s,
                }
            )
        )
        crowd = Program([python, "-m", "tests.bench.tunnel_boxes", boxes])
        stack.callback(crowd.end)
        until_all(crowd, sizes, spares)
        time.sleep(SETTLE_S)
        after = memory(portal.pid)
        kilobytes = (after.rss - before.rss) / sizes.boxes / 1e3
        with_spares = f" with {spares} spares" if spares else ""
        goal = None if spares else Goal(32, on="value", at_most=True)
        figures = [
            Figure(
                f"relay memory per idle tunnel{with_spares}, TLS here, {sizes.boxes} held",
                "kB",
                ((kilobytes, None),),
                goal,
            )
        ]
        print(f"  {sizes.boxes} tunnels{with_spares}: {kilobytes:.1f} kB each", file=sys.stderr, flush=True)
        if spares:
            portal.kill()
            time.sleep(sizes.away_s)
            portal = Portal(python, settings)
            portal.until_ready()
            began = time.monotonic()
            back = until_all(crowd, sizes, spares, since=began)
            figures.append(
                Figure(
                    f"{sizes.boxes} boxes back after the portal was killed",
                    "s",
                    ((back["at"] - began, None),),
                    Goal(60, on="value", at_most=True),
                )
            )
            figures.append(
                Figure(
                    "boxes refused meanwhile",
                    "boxes",
                    ((float(back["refused"]), None),),
                    Goal(0, on="value", at_most=True),
                )
            )
            print(f"  all back after {back['at'] - began:.1f} s", file=sys.stderr, flush=True)
    return figures


def until_all(crowd: Program, sizes: Sizes, spares: int, since: float = 0) -> dict[str, float]:
    """Wait until every box is connected, and holds its spares; `since` the portal's new start."""
    return crowd.hear(
        lambda said: (
            said["connected"] == sizes.boxes and said["spares"] >= sizes.boxes * spares and said["at"] > since
        ),
        timeout_s=sizes.timeout_s,
    )


def portal_killed(python: Path, folder: Path, load: Path, sizes: Sizes) -> list[Figure]:
    """One box: the portal is killed and started again; until a patient is served."""
    took = []
    with opened("work", python, folder / "killed", load) as side:
        assert side.relay is not None
        for _ in range(sizes.kills):
            began = time.monotonic()
            side.relay.kill()
            side.relay = Portal(python, side.settings)
            side.load.until_served()
            took.append((time.monotonic() - began, None))
            print(f"  portal killed: served again after {took[-1][0]:.1f} s", file=sys.stderr, flush=True)
            time.sleep(SETTLE_S)
    return [Figure("portal killed until a patient is served", "s", tuple(took), Goal(5, on="value", at_most=True))]
