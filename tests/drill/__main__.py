"""`python -m tests.drill [--patients N --documents N --mebibytes N] [--beside FOLDER]`: the drill, as root; a timed report.

Writes build/drill/report.json. Ends with 1 if a document differs, is missing or came back, or a goal was missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.drill.campaign import Report, run
from tests.drill.operator_script import GOAL_S, as_text
from tests.drill.papers import FULL, Drill
from tests.simulators.demo_box import ROOT

OUT = ROOT / "build/drill"
RATIO = 0.5


def as_lines(report: Report) -> list[str]:
    """Give the report as people read it."""
    drill = report.drill
    by_hand = sum(step.took_s for step in report.steps)
    return [
        f"{drill.patients} patients, {drill.documents} documents, {drill.bytes / 2**30:.2f} GiB, "
        f"{os.cpu_count()} processors",
        *(f"{took_s:8.1f} s  {name}" for name, took_s in report.took_s.items()),
        f"{report.ratio:8.2f} x  as fast as restic alone (goal: at least {RATIO:g})",
        f"{by_hand:8.1f} s  for what a person has to do (goal: under {GOAL_S:g})",
        f"{report.documents:8}    documents compared, {len(report.faults)} faults",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drill")
    parser.add_argument("--patients", type=int, default=FULL.patients)
    parser.add_argument("--documents", type=int, default=FULL.documents)
    parser.add_argument("--mebibytes", type=int, default=FULL.bytes >> 20)
    parser.add_argument("--beside", type=Path, help="folder for both boxes' states; a new one otherwise")
    given = parser.parse_args()
    drill = Drill(given.patients, given.documents, given.mebibytes << 20)
    with tempfile.TemporaryDirectory(dir=given.beside, prefix="praxissafe-drill-") as beside:
        report = asyncio.run(run(drill, partial(print, flush=True), Path(beside)))
    print("\nWhat a person does:", as_text(report.steps), "", *as_lines(report), *report.faults[:20], sep="\n")
    OUT.mkdir(parents=True, exist_ok=True)
    figures = {"took_s": report.took_s, "ratio": report.ratio, "documents": report.documents, "faults": report.faults}
    (OUT / "report.json").write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if report.faults or report.ratio < RATIO or sum(step.took_s for step in report.steps) >= GOAL_S else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the boxes end too
    sys.exit(main())
