"""`python -m tests.bench.tunnel`: measures the tunnel against direct TLS and against snitun, prints the tables, writes the files.

As root (network namespaces; the whole box for its memory). Exits 0 also when a goal is missed, 1 when a measurement failed: wrong bytes are such a failure.
`--only NAME …` measures some: `bytes` (rate, CPU, a request's time, stalled readers), `line` (an emulated uplink, silent cuts),
`crowd` (2,000 boxes, a killed portal), `box` (the real box's memory). `--without-snitun` leaves snitun out.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench import tunnel_crowd, tunnel_line, tunnel_memory, tunnel_throughput
from tests.bench.figures import Figure, table, write
from tests.bench.tunnel_load import build
from tests.bench.tunnel_python import bench_python
from tests.bench.tunnel_sides import NAMES, opened
from tests.simulators.demo_box import ROOT

PARTS = ("bytes", "line", "crowd", "box")
DEFAULT_FOLDER = ROOT / "build/bench"
PROGRAMS = ROOT / "build/bench-tunnel"


class Bench:
    """One run: the programs, the sides, the sizes."""

    def __init__(self, python: Path, programs: Path, sides: Sequence[str], *, short: bool) -> None:
        self.python = python
        self.sides = sides
        self.short = short
        self.load, self.link = build("load", programs), build("link", programs)

    def measure(self, part: str, folder: Path) -> list[Figure]:
        """Make one part's figures in a folder of its own."""
        folder.mkdir()
        measures: dict[str, Callable[[Path], list[Figure]]] = {
            "bytes": self._bytes,
            "line": self._line,
            "crowd": self._crowd,
            "box": self._box,
        }
        return measures[part](folder)

    def _bytes(self, folder: Path) -> list[Figure]:
        sizes = tunnel_throughput.SHORT if self.short else tunnel_throughput.Sizes()
        with contextlib.ExitStack() as stack:
            sides = [stack.enter_context(opened(name, self.python, folder / name, self.load)) for name in self.sides]
            return tunnel_throughput.measure(sides, sizes)

    def _line(self, folder: Path) -> list[Figure]:
        sizes = tunnel_line.SHORT if self.short else tunnel_line.Sizes()
        return tunnel_line.measure(self.sides, self.python, folder, self.load, self.link, sizes)

    def _crowd(self, folder: Path) -> list[Figure]:
        sizes = tunnel_crowd.SHORT if self.short else tunnel_crowd.Sizes()
        return tunnel_crowd.measure(self.python, folder, self.load, sizes)

    def _box(self, _: Path) -> list[Figure]:
        return tunnel_memory.measure(short=self.short)


def conditions(python: Path) -> dict[str, object]:
    """What the figures depend on."""
    look = "import platform, ssl; from importlib.metadata import version; print(platform.python_version(), version('snitun'), ssl.OPENSSL_VERSION.split()[1])"
    version, snitun, openssl = subprocess.run(
        [python, "-c", look], capture_output=True, text=True, check=True
    ).stdout.split()
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": version,
        "snitun": snitun,
        "openssl": openssl,
        "load_before": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.tunnel", description=inspect.getdoc(sys.modules[__name__])
    )
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--without-snitun", action="store_true")
    parser.add_argument(
        "--short", action="store_true", help="few and small: shows that it runs, says nothing of speed"
    )
    chosen = parser.parse_args()
    if os.geteuid():
        parser.error("needs root: network namespaces, and the whole box")
    python = bench_python()
    facts = conditions(python)
    print(
        f"All sides on Python {facts['python']}, OpenSSL {facts['openssl']}; snitun {facts['snitun']}.",
        file=sys.stderr,
        flush=True,
    )
    sides = [name for name in NAMES if name != "snitun" or not chosen.without_snitun]
    bench = Bench(python, PROGRAMS, sides, short=chosen.short)
    measured: dict[str, list[Figure] | None] = {}
    with tempfile.TemporaryDirectory(prefix="bench-tunnel-") as folder:
        for part in chosen.only:
            began = time.monotonic()
            print(f"{part}: measuring", file=sys.stderr, flush=True)
            try:
                found = bench.measure(part, Path(folder) / part)
            except Exception:  # one that fails does not cost the others
                traceback.print_exc(limit=-3)
                measured[part] = None
                continue
            measured[part] = found
            seconds = round(time.monotonic() - began)
            write(chosen.folder, f"tunnel-{part}", found, {**facts, "seconds": seconds})
            print(f"\n{table(found)}\n{part}: {seconds} s\n", flush=True)
    judged = [figure for found in measured.values() for figure in found or () if figure.goal is not None]
    print(
        f"{sum(bool(figure.met) for figure in judged)} of {len(judged)} goals met; the files are in {chosen.folder}."
    )
    failed = [part for part, found in measured.items() if found is None]
    if failed:
        print(f"These measurements failed: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
