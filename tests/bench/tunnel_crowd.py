"""Many boxes at one portal: what an idle tunnel costs it, and how all come back when it was killed.

The boxes run tunnel's real keepers with their real back-off. The portal is killed as a crash kills it and started again by
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
from tests.bench.tunnel_front import Front
from tests.bench.tunnel_portal import Device, Portal, write_portal
from tests.bench.tunnel_programs import Program, memory
from tests.bench.tunnel_sides import LOOPBACK, SPARES, free_port, opened

COUNTS = ("connected", "spares", "refused", "streams")
NEARLY = 0.95
KILL_PAUSE_S = 3.0
SHOW_S = 10.0
BACK_GOAL = Goal(60, on="value", at_most=True)
NONE_GOAL = Goal(0, on="value", at_most=True)


@dataclass(frozen=True)
class Sizes:
    """How many boxes, and how often one is brought back."""

    boxes: int = 2000
    processes: int = 4
    kills: int = 5
    #: The first time they come one after the other, so that this shows memory and not a storm.
    spread_s: float = 30.0
    away_s: float = 2.0
    timeout_s: float = 240.0
    #: The portal gives memory back every 10 s.
    settle_s: float = 11.0


SHORT = Sizes(boxes=6, processes=1, kills=1, spread_s=0.5, away_s=0.1, timeout_s=60, settle_s=0.1)


def measure(python: Path, folder: Path, load: Path, sizes: Sizes) -> list[Figure]:
    """Give the figures of the crowd, and of one box whose portal is killed."""
    raise_file_limit()
    figures = []
    for place, spares, end_tls in (("front", 0, True), ("here", 0, False), ("spares", SPARES, False)):
        figures += crowd_held(python, folder / place, sizes, spares=spares, end_tls=end_tls)
    return [*figures, *portal_killed(python, folder, load, sizes)]


def raise_file_limit() -> None:
    """The children inherit it: a box holds its control connection and its spares, the portal or a front the other ends."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def crowd_held(python: Path, folder: Path, sizes: Sizes, *, spares: int, end_tls: bool) -> list[Figure]:
    """Have all boxes log in, look at the portal's memory; with spares and TLS here, kill it and wait for all of them."""
    folder.mkdir()
    devices = [Device.make() for _ in range(sizes.boxes)]
    port = free_port(LOOPBACK, None)
    # All come from one address here, where each practice has its own.
    limits: dict[str, object] = dict.fromkeys(
        ("max_connections", "max_connections_per_address", "max_handshakes_per_s_per_address"), 10 * sizes.boxes + 100
    )
    where = "TLS ended in front" if end_tls else "TLS here"
    held = f"relay memory per idle tunnel{f' with {spares} spares' if spares else ''}, {where}, {sizes.boxes} held"
    with contextlib.ExitStack() as stack:
        front = Front(folder) if end_tls else None
        if front is not None:
            limits |= front.relay_settings()
        settings = write_portal(folder, LOOPBACK, port, devices, spare_connections=spares, **limits)
        portal = Portal(python, settings)
        stack.callback(lambda: portal.end())
        portal.until_ready()
        before = memory(portal.pid)
        if front is not None:
            stack.callback(front.start().end)
        crowd = Crowd(python, folder, devices, front.door if front else port, sizes)
        stack.callback(crowd.end)
        crowd.until_all(spares)
        time.sleep(sizes.settle_s)
        kilobytes = (memory(portal.pid).rss - before.rss) / sizes.boxes / 1e3
        bound = 8 if end_tls else 32
        figures = [
            Figure(held, "kB", ((kilobytes, None),), None if spares else Goal(bound, on="value", at_most=True))
        ]
        print(f"  {held}: {kilobytes:.1f} kB", file=sys.stderr, flush=True)
        if spares and not end_tls:
            portal.kill()
            time.sleep(sizes.away_s)
            portal = Portal(python, settings)
            portal.until_ready()
            figures += all_back(crowd, sizes)
    return figures


class Crowd:
    """The boxes, in a few processes; each is provisioned for the portal that has written its authority to `folder`.

    Few: in one, the boxes would wait for each other so long that dials time out, which no practice's box does.
    """

    def __init__(self, python: Path, folder: Path, devices: list[Device], port: int, sizes: Sizes) -> None:
        self._sizes = sizes
        self._programs: list[Program] = []
        for number in range(sizes.processes):
            boxes = [device.settings(folder, f"{LOOPBACK}:{port}") for device in devices[number :: sizes.processes]]
            path = folder / f"boxes-{number}.json"
            path.write_text(json.dumps({"boxes": boxes, "tunnel": {}, "spread_s": sizes.spread_s}))
            self._programs.append(Program([python, "-m", "tests.bench.tunnel_boxes", path]))
        self._said: list[dict[str, float]] = [dict.fromkeys((*COUNTS, "at"), 0) for _ in self._programs]

    def end(self) -> None:
        """End all boxes."""
        for program in self._programs:
            program.end()

    def until_all(self, spares: int, since: float = 0) -> dict[str, float]:
        """Wait until every box is logged in, and nearly all spares are there; `since` the portal's new start.

        Not all spares: the portal renews some at every moment, and who takes streams has none. TimeoutError.
        """
        sizes = self._sizes
        until, show_at = time.monotonic() + sizes.timeout_s, time.monotonic() + SHOW_S
        while True:
            self._said = [program.latest() or said for program, said in zip(self._programs, self._said, strict=True)]
            now = {name: sum(said[name] for said in self._said) for name in COUNTS}
            enough = now["spares"] >= NEARLY * (sizes.boxes - now["streams"]) * spares
            if now["connected"] == sizes.boxes and enough and all(said["at"] > since for said in self._said):
                return {**now, "at": max(said["at"] for said in self._said)}
            if time.monotonic() > show_at:
                show_at += SHOW_S
                print(
                    f"  {now['connected']} boxes, {now['spares']} spares, {now['streams']} in streams",
                    file=sys.stderr,
                    flush=True,
                )
            if time.monotonic() > until:
                raise TimeoutError(f"{now['connected']} of {sizes.boxes} boxes with {now['spares']} spares")
            time.sleep(0.05)


def all_back(crowd: Crowd, sizes: Sizes) -> list[Figure]:
    """Give how long all boxes take from the portal's new start until each is logged in.

    Those whose probe went unanswered in the crowd take streams for a day: counted, for a patient is served all the same.
    """
    began = time.monotonic()
    back = crowd.until_all(0, since=began)
    took = back["at"] - began
    print(f"  all back after {took:.1f} s", file=sys.stderr, flush=True)
    return [
        Figure(f"{sizes.boxes} boxes back after the portal was killed", "s", ((took, None),), BACK_GOAL),
        Figure("boxes refused meanwhile", "boxes", ((float(back["refused"]), None),), NONE_GOAL),
        Figure("boxes that came back in the multiplexed mode", "boxes", ((float(back["streams"]), None),)),
    ]


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
            time.sleep(min(sizes.settle_s, KILL_PAUSE_S))
    return [Figure("portal killed until a patient is served", "s", tuple(took), Goal(5, on="value", at_most=True))]
