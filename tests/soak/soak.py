"""The soak: many patients, a portal, a box, and everything cut now and then; at the end nothing may be left over.

Portal, tunnel and gateway are processes of their own, with their own settings (simulators/outer_box.py); patients and the practice's
router are in this process. The portal is killed and started anew in the first third; the control connection is cut, work
connections are reset and patients break off all the time. Memory is measured in the last two thirds, in which no process is
started anew. Everything drawn comes from `seed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks.process_memory import descriptors
from tests.portal.simulated_box import SimulatedBox
from tests.simulators.outer_box import OuterBox, outer_box, resident_kib
from tests.simulators.portal_process import PortalProcess, portal_process
from tests.simulators.router import Router, router
from tests.simulators.sample_documents import Sample
from tests.soak.downloads import Tally, Visit
from tests.soak.slope import Slope, slope_of

DOCUMENT_BYTES = (30_000, 100_000, 300_000, 900_000)
#: Pipes that a relay keeps for the next patient are no leak; all else is counted to the last one.
KEPT_PIPES = 128
SETTLE_S = 60.0
CUT_CHANCE = 0.01
#: Seconds between cuts of the control connection, and between resets of work connections.
CONTROL_CUT_S = (10.0, 40.0)
WORK_CUT_S = (2.0, 12.0)


@dataclass(frozen=True)
class Plan:
    """How long, how many, how fast (bytes a second and patient), how often the portal is killed.

    `growth_kib`: what may surely have grown in a process over the measured time (slope.py). 4 MiB in half an hour shows a leak
    of a few hundred bytes for each document; in two minutes the allocator's warming up is more than that.
    """

    seconds: float
    patients: int
    seed: int
    pace: tuple[float, float] = (8_000.0, 32_000.0)
    portal_kills: int = 6
    sample_s: float = 1.0
    growth_kib: float = 4 * 1024.0


#: What differs below SHORT_S seconds.
SHORT_S = 600.0
SHORT: dict[str, Any] = {"portal_kills": 1, "sample_s": 0.5, "growth_kib": 24 * 1024.0}


@dataclass
class Result:
    """Everything that was counted."""

    plan: Plan
    tally: Tally
    cuts: dict[str, int] = field(default_factory=lambda: {"control": 0, "work": 0, "portal": 0})
    #: process -> (second, KiB)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    slopes: dict[str, Slope] = field(default_factory=dict)
    #: process -> descriptors by kind before and after
    before: dict[str, Counter[str]] = field(default_factory=dict)
    after: dict[str, Counter[str]] = field(default_factory=dict)
    portal_said: str = ""

    def left_over(self) -> dict[str, Counter[str]]:
        """Give the descriptors by kind that a process has more of than before, where there are any."""
        more = {process: self.after[process] - self.before[process] for process in self.after}
        more["portal"] -= Counter(pipe=KEPT_PIPES)
        return {process: kinds for process, kinds in more.items() if kinds}

    def faults(self) -> list[str]:
        """Give what was not as it must be."""
        found = []
        if self.tally.wrong or not self.tally.documents:
            found.append(f"{self.tally.wrong} of {self.tally.documents} documents were wrong")
        found += [f"{process} still holds {dict(more)}" for process, more in self.left_over().items()]
        for process, slope in self.slopes.items():
            if slope.surely_grown_kib > self.plan.growth_kib:
                found.append(f"{process} grew by at least {slope.surely_grown_kib:.0f} KiB")
        for left in ("relays_now", "connections_now"):
            if left in self.portal_said:
                found.append(f"the portal still counts: {self.portal_said}")
        return found

    def summary(self) -> dict[str, object]:
        slopes = {
            name: {
                "kib_per_hour": round(slope.per_s * 3600, 1),
                "uncertain_by": round(slope.uncertain_by * 3600, 1),
                "seconds": round(slope.seconds),
            }
            for name, slope in self.slopes.items()
        }
        return {
            "plan": asdict(self.plan),
            **asdict(self.tally),
            "cuts": self.cuts,
            "slopes": slopes,
            "descriptors": {process: (self.before[process], self.after[process]) for process in self.after},
            "portal_said": self.portal_said,
            "faults": self.faults(),
        }


def held_by(pid: int) -> Counter[str]:
    """Give how many descriptors of each kind a process holds: socket, pipe, anon_inode:[eventpoll], a file's name."""
    return Counter(
        name.partition(":[")[0] if name.startswith(("socket", "pipe")) else name for name in descriptors(pid).values()
    )


class Soak:
    """One run."""

    def __init__(
        self, plan: Plan, portal: PortalProcess, box: OuterBox, way: Router, say: Callable[[str], None]
    ) -> None:
        self.plan, self.portal, self.box, self.way, self.say = plan, portal, box, way, say
        self.result = Result(plan, Tally())
        self._begun = time.monotonic()
        self._chance = random.Random(plan.seed)

    def pids(self) -> dict[str, int]:
        box = {name: process.pid for name, process in self.box.processes.items()}
        return {"portal": self.portal.process.pid, **box}

    async def run(self) -> Result:
        over = asyncio.Event()
        await self._settle()
        visits = [self._visit(number) for number in range(self.plan.patients)]
        background = [
            asyncio.ensure_future(one()) for one in (self._cut_control, self._cut_work, self._sample, self._tell)
        ]
        self._begun = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                patients = [group.create_task(visit.run(over)) for visit in visits]
                await self._kill_portals()
                await self._until(self.plan.seconds)
                over.set()
                for task in background:
                    task.cancel()
                await asyncio.wait(patients)
        finally:
            for task in background:
                task.cancel()
            await asyncio.wait(background)
        for task in background:
            if not task.cancelled() and task.exception() is not None:
                raise task.exception()
        await self._compare()
        for process, samples in self.result.memory.items():
            self.result.slopes[process] = slope_of([one for one in samples if one[0] >= self.plan.seconds / 3])
        await self.portal.end()
        self.result.portal_said = self.portal.said().strip().splitlines()[-1]
        return self.result

    def _visit(self, number: int) -> Visit:
        context = ssl.create_default_context(cafile=str(self.box.authority_path))
        return Visit(
            number=number,
            host=self.box.host_name,
            port=self.portal.port,
            context=context,
            share=self.share,
            pace=self._chance.uniform(*self.plan.pace),
            cut_chance=CUT_CHANCE,
            chance=random.Random(self._chance.random()),
            tally=self.result.tally,
        )

    def make_share(self) -> None:
        samples = [
            Sample(
                f"{size}.bin", f"{size}", "finding", "application/octet-stream", [random.Random(size).randbytes(size)]
            )
            for size in DOCUMENT_BYTES
        ]
        self.share = self.box.share(*samples)

    async def _until(self, second: float) -> None:
        await asyncio.sleep(max(0.0, self._begun + second - time.monotonic()))

    async def _kill_portals(self) -> None:
        third = self.plan.seconds / 3
        for number in range(self.plan.portal_kills):
            await self._until(third * (number + 1) / (self.plan.portal_kills + 1))
            await self.portal.kill()
            await asyncio.sleep(self._chance.uniform(0, 2))
            await self.portal.start()
            self.result.cuts["portal"] += 1
            self.say("portal killed and started anew")

    async def _cut_control(self) -> None:
        chance = random.Random(self.plan.seed + 1)
        while True:
            await asyncio.sleep(chance.uniform(*CONTROL_CUT_S))
            self.result.cuts["control"] += self.way.cut("tls")

    async def _cut_work(self) -> None:
        chance = random.Random(self.plan.seed + 2)
        while True:
            await asyncio.sleep(chance.uniform(*WORK_CUT_S))
            self.result.cuts["work"] += self.way.cut(
                "work", chance.randrange(1, 1 + self.plan.patients // 20), chance
            )

    async def _sample(self) -> None:
        while True:
            for process, pid in self.pids().items():
                with contextlib.suppress(FileNotFoundError, StopIteration):  # the portal is being started anew
                    at = time.monotonic() - self._begun
                    self.result.memory.setdefault(process, []).append((round(at, 1), resident_kib(pid)))
            await asyncio.sleep(self.plan.sample_s)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(max(10.0, self.plan.seconds / 30))
            tally, memory = self.result.tally, {name: values[-1][1] for name, values in self.result.memory.items()}
            self.say(
                f"{time.monotonic() - self._begun:.0f}s documents={tally.documents} wrong={tally.wrong} "
                f"ended={tally.ended} broken_off={tally.broken_off} bytes={tally.received_bytes} {self.result.cuts} {memory}"
            )

    async def _settle(self) -> None:
        """Wait until the box is connected with its spares and has served once, and count the descriptors."""
        await self.box.until("connected", spares=4)
        once = asyncio.Event()
        once.set()
        await self._visit(self.plan.patients).load(0, once)
        self.result.tally.documents = 0
        await asyncio.sleep(1)
        self.result.before = {process: held_by(pid) for process, pid in self.pids().items()}

    async def _compare(self) -> None:
        """Wait until nothing is left over, for SETTLE_S at most, and note what is."""
        give_up_at = time.monotonic() + SETTLE_S
        while True:
            self.result.after = {process: held_by(pid) for process, pid in self.pids().items()}
            if not self.result.left_over() or time.monotonic() > give_up_at:
                return
            await asyncio.sleep(0.5)


async def soak(plan: Plan, folder: Path, say: Callable[[str], None]) -> Result:
    """Run a soak in `folder`."""
    say(f"seed={plan.seed} patients={plan.patients} seconds={plan.seconds:.0f}")
    identity = SimulatedBox(folder)
    async with (
        portal_process(folder / "portal", identity) as portal,
        router(portal.port) as way,
        outer_box(
            folder / "box", way.port, portal.authority_path, identity=identity, page_port=portal.port, tunnel={}
        ) as box,
    ):
        run = Soak(plan, portal, box, way, say)
        run.make_share()
        result = await run.run()
        await portal.start()  # its end is checked as that of a portal that runs
    return result


def write(result: Result, folder: Path) -> None:
    """Write the result and what it was made of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(result.summary(), indent=2) + "\n")
    (folder / "soak-memory.json").write_text(json.dumps(result.memory) + "\n")


def to_standard_error(line: str) -> None:
    print(f"soak {line}", file=sys.stderr, flush=True)
