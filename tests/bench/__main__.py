"""`python -m tests.bench`: measures everything on a box of its own, prints the table, and writes the files. As root.

Exits 0 also when a goal is missed: a figure is to be read, on the machine it was measured on. Exits 1 when a measurement
itself failed, after the others were made. `--only NAME …` measures some; `--folder` is where the files go.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import os
import platform
import sqlite3
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.bench import database, download, erasure, intake, keys, memory, opening
from tests.bench.figures import Figure, table, write
from tests.simulators.demo_box import ROOT, DemoBox, running_box

#: In this order: memory first, on a box that has only just begun.
NAMES = ("memory", "database", "keys", "intake", "download", "opening", "erasure")
DEFAULT_FOLDER = ROOT / "build/bench"


async def measure(name: str, box: DemoBox, *, short: bool = False) -> list[Figure]:
    """Make one measurement."""
    if name == "database":
        return database.measure(box.state, short=short)
    if name == "erasure":
        return await erasure.measure(box.state, short=short)
    if name == "keys":
        return await keys.measure(box.state, short=short)
    measurements = {"memory": memory, "intake": intake, "download": download, "opening": opening}
    return await measurements[name].measure(box, short=short)


def conditions() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "plain_sqlite": sqlite3.sqlite_version,
        "load_before": round(os.getloadavg()[0], 1),
    }


def run(names: Sequence[str], folder: Path, *, short: bool = False) -> dict[str, list[Figure] | None]:
    """Measure on a fresh box and write the files; None for what failed."""
    measured: dict[str, list[Figure] | None] = {}
    facts = conditions()
    with running_box() as box:
        for name in names:
            began = time.monotonic()
            try:
                figures = asyncio.run(measure(name, box, short=short))
            except Exception:  # one that fails does not cost the others
                traceback.print_exc(limit=-3)
                measured[name] = None
                continue
            measured[name] = figures
            write(folder, name, figures, {**facts, "seconds": round(time.monotonic() - began)})
            print(f"\n{table(figures)}", flush=True)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=inspect.getdoc(sys.modules[__name__]))
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument(
        "--short", action="store_true", help="few and small: shows that it runs, says nothing of speed"
    )
    chosen = parser.parse_args()
    measured = run(chosen.only, chosen.folder, short=chosen.short)
    figures = [figure for found in measured.values() if found for figure in found]
    judged = [figure for figure in figures if figure.goal is not None]
    failed = [name for name, found in measured.items() if found is None]
    print(
        f"\n{sum(bool(figure.met) for figure in judged)} of {len(judged)} goals met; the files are in {chosen.folder}."
    )
    if failed:
        print(f"These measurements failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
