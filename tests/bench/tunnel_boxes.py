"""`python -m tests.bench.tunnel_boxes SETTINGS.json`: a crowd of boxes in one process, each with tunnel's real keepers.

What makes a box come back (dialling, the proof, the probes, the back-off, Retry-After) is the box's own code; only vault is
a stub. Nobody downloads: there is no gateway. Says {"connected", "spares", "refused", "streams", "at"} whenever it changes: how
many boxes are connected now, how many spares they hold, how many answers were Refused so far, how many boxes found no
better way than streams; `at` is CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from appliance.core.metrics import render
from appliance.tunnel.keepers import Keepers
from appliance.tunnel.route import Route
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import Status
from tests.bench.tunnel_saying import say, until_input_ends
from tests.bench.tunnel_vault import StubVault

LOOK_S = 0.25
REFUSED = 'praxis_tunnel_sessions_total{outcome="refused"} '


async def run(settings: dict[str, Any], folder: Path) -> None:
    """Keep every box connected; they begin within `spread_s`. `folder` is in memory: here all would sync one disk."""
    states = [Status(0) for _ in settings["boxes"]]
    chosen = TunnelSettings(state=str(folder), **settings["tunnel"])
    pause_s = settings["spread_s"] / len(states)
    async with asyncio.TaskGroup() as group:
        group.create_task(say_states(states))
        for box, status in zip(settings["boxes"], states, strict=True):
            vault: Any = StubVault.of(box)
            state = folder / "boxes" / box["box"]
            state.mkdir(parents=True)
            route = Route(state, time.time, chosen.retry_better_s)
            group.create_task(Keepers(vault, vault, chosen, route, status).run())
            await asyncio.sleep(pause_s)


async def say_states(states: list[Status]) -> None:
    said: tuple[int, ...] | None = None
    while True:
        refused = next((line for line in render().splitlines() if line.startswith(REFUSED)), f"{REFUSED}0")
        now = (
            sum(status.state == "connected" for status in states),
            sum(status.spares for status in states),
            int(float(refused.removeprefix(REFUSED))),
            sum(status.mode == "streams" for status in states),
        )
        if now != said:
            said = now
            say(connected=now[0], spares=now[1], refused=now[2], streams=now[3], at=asyncio.get_running_loop().time())
        await asyncio.sleep(LOOK_S)


def main() -> None:
    logging.disable(logging.CRITICAL)  # uvloop tells of every connection that the killed portal had
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    settings = json.loads(Path(sys.argv[1]).read_text())
    with (
        tempfile.TemporaryDirectory(prefix="bench-boxes-", dir="/dev/shm") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(until_input_ends(run(settings, Path(folder))))


if __name__ == "__main__":
    main()
