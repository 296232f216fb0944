"""The soak: many patients, a portal, a box, and everything cut now and then; at the end nothing may be left over.

Portal, tunnel and gateway are processes of their own, with their own settings (simulators/outer_box.py); patients and the practice's
router are in this process. The portal is killed and started anew in the first third; the control connection is cut, work
connections are reset and patients break off all the time. Memory is measured in the last two thirds, in which no process is
started anew. Everything drawn comes from `seed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.portal.simulated_box import SimulatedBox
from tests.simulators.outer_box import OuterBox, outer_box, resident_kib
from tests.simulators.portal_process import PortalProcess, portal_process
from tests.simulators.router import Router, router
from tests.simulators.sample_documents import Sample
from tests.soak.downloads import Tally, Visit
from tests.soak.result import Plan, Result, held_by
from tests.soak.slope import slope_of

DOCUMENT_BYTES = (30_000, 100_000, 300_000, 900_000)
DOCUMENT_BYTES = (30_000, 100_000, 300_000, 900_000)
SETTLE_S = 60.0
CUT_CHANCE = 0.01
#: Seconds between cuts of the control connection, and between resets of work connections.
CONTROL_CUT_S = (10.0, 40.0)
WORK_CUT_S = (2.0, 12.0)


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


def to_standard_error(line: str) -> None:
    print(f"soak {line}", file=sys.stderr, flush=True)
