"""Memory that is free inside the heap goes back to the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from appliance.core import spare_memory

#: Runs in a process of its own: this one's heap is anybody's. Says what is resident before and after, in bytes.
HOLES = """
import asyncio, resource
from pathlib import Path
from appliance.core import spare_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

async def main():
    kept = []
    for _ in range(2000):  # below the threshold for pages of their own, and each hole has a neighbour that stays
        hole = bytes(100_000)
        kept += [bytes(600), hole]
    del kept[1::2], hole
    before = resident()
    spare_memory.PERIOD_S = 0
    giving = asyncio.ensure_future(spare_memory.give_back_spare_memory())
    while resident() > before / 2:
        await asyncio.sleep(0.01)
    giving.cancel()
    print(before, resident(), len(kept))

asyncio.run(asyncio.wait_for(main(), 60))
"""


def test_holes_in_the_heap_are_given_back() -> None:
    root = Path(spare_memory.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", HOLES],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, after, kept = (int(number) for number in done.stdout.split())
    assert kept == 2000
    assert before > 150_000_000
    assert after < 50_000_000
