"""How much memory the box's resident units take: the proportional set size of all their processes (proc_pid_smaps(5)).

PSS counts a page that several processes share in parts, so the sum is what the box's units take of the machine's memory.
Counted are the units of processes.md; the demo's software TPM and portal stand for a chip and another machine.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from appliance.demo.processes import leader, unit_pids
from tests.bench.figures import Figure, Goal
from tests.bench.intake import MIB, document
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient
from tests.simulators.staff import staff_of

GOAL_MB = 220
STRETCH_MB = 160
IDLE_S = 60.0
DOWNLOADS = 20


def units() -> list[str]:
    """Give the box's units that stay, by their files."""
    shipped = Path(__file__).parents[2] / "systemd"
    passing = {"praxis-enrol"}  # while the box is not provisioned
    return sorted(
        path.stem for path in shipped.glob("praxis-*.service") if path.stem not in passing and "@" not in path.stem
    )


def pss_mb(box: DemoBox) -> dict[str, float]:
    """Give unit -> MB now."""
    container = leader(box.state)
    return {unit: sum(map(_pss_kib, unit_pids(container, f"{unit}.service"))) * 1024 / 1e6 for unit in units()}


def _pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def measure(box: DemoBox, *, short: bool = False) -> list[Figure]:
    """Give each unit's figure and the sum, idle and after downloads."""
    await asyncio.sleep(0 if short else IDLE_S)
    idle = pss_mb(box)
    await _download(box, 2 if short else DOWNLOADS)
    used = pss_mb(box)
    return [
        *_figures("idle for a minute", idle),
        *_figures(f"after {DOWNLOADS} downloads", used),
    ]


def _figures(when: str, measured: dict[str, float]) -> list[Figure]:
    one = [
        Figure(f"memory {when}, {unit.removeprefix('praxis-')}", "MB", ((mb, None),)) for unit, mb in measured.items()
    ]
    total = ((sum(measured.values()), None),)
    return [
        *one,
        Figure(f"memory {when}, sum", "MB", total, Goal(GOAL_MB, on="value", at_most=True)),
        Figure(f"memory {when}, sum (stretch)", "MB", total, Goal(STRETCH_MB, on="value", at_most=True)),
    ]


async def _download(box: DemoBox, count: int) -> None:
    """Download a document of 1 MiB as often, each time as a patient who comes anew."""
    async with staff_of(box) as staff:
        patient = await staff.create_patient(f"Speicher{secrets.token_hex(4)}")
        await staff.upload(patient, document(MIB), name="b.pdf", media_type="application/pdf")
        link, pin = await staff.share(patient)
    for _ in range(count):
        async with Patient(link, box.portal_ca) as holder:
            await holder.open(pin)
