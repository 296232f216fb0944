"""`python -m tests.soak`: half an hour of 200 patients; writes build/soak.json and build/soak.svg, ends with 1 for any fault."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.soak.plot import plot
from tests.soak.result import SHORT, SHORT_S, Plan, write
from tests.soak.soak import soak, to_standard_error


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=1800.0)
    arguments.add_argument("--patients", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    arguments.add_argument("--out", type=Path, default=Path("build"))
    chosen = arguments.parse_args()
    short = {} if chosen.seconds >= SHORT_S else SHORT
    plan = Plan(chosen.seconds, chosen.patients, chosen.seed, **short)
    with (
        tempfile.TemporaryDirectory(prefix="praxissafe-soak-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        result = runner.run(soak(plan, Path(folder), to_standard_error))
    write(result, chosen.out)
    plot(result, chosen.out / "soak.svg")
    print((chosen.out / "soak.json").read_text())
    return 1 if result.faults() else 0


if __name__ == "__main__":
    sys.exit(main())
