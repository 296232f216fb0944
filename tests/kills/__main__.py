"""`python -m tests.kills [--seed S] [--count N] [--only N]`: a campaign on a box of its own. As root.

Prints the seed, a line for every ten kills, each fault when it shows, and a table. Ends with 1 if there was a fault.
`--only N` runs round N of a seed and no other.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from functools import partial
from itertools import islice

from tests.kills.campaign import Report, campaign_on
from tests.kills.plan import rounds
from tests.simulators.demo_box import running_box

COUNT = 210


async def run(seed: int, count: int, only: int) -> Report:
    chosen = islice(rounds(seed), only - 1 if only else 0, only or count)
    with running_box() as box:
        async with campaign_on(box, seed, "Abbruch") as campaign:
            return await campaign.run(chosen, partial(print, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--only", type=int, default=0)
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}, {1 if wanted.only else wanted.count} kills", flush=True)
    report = asyncio.run(run(wanted.seed, wanted.count, wanted.only))
    print(report.table())
    for fault in report.faults:
        print(fault)
    print(f"seed {wanted.seed}: {len(report.outcomes)} kills, {len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
