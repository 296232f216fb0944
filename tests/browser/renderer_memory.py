"""How much memory a browser's renderer processes take while something runs.

Counted is what a process has for itself (Private_Clean and Private_Dirty of /proc/PID/smaps_rollup, proc_pid_smaps(5));
the browser's own code, which all its processes share, is not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.async_api import Browser, CDPSession

SAMPLE_EVERY_S = 0.1


@dataclass
class RendererMemory:
    """Peaks by process."""

    peaks: dict[int, int] = field(default_factory=dict)
    samples: int = 0

    @property
    def peak_mb(self) -> float:
        """The peak of the largest renderer, in MB of 10^6 bytes."""
        return max(self.peaks.values(), default=0) / 1e6

    @property
    def all_peaks_mb(self) -> float:
        """The peaks of every renderer together: the page's, its service worker's, and a spare one's."""
        return sum(self.peaks.values()) / 1e6

    def note(self, pid: int) -> None:
        """Read one process; one that has ended meanwhile counts with what was seen of it."""
        with contextlib.suppress(OSError):
            self.peaks[pid] = max(self.peaks.get(pid, 0), private_bytes(pid))
            self.samples += 1


def private_bytes(pid: int) -> int:
    """Give what a process has in memory for itself alone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


async def _renderers(session: CDPSession) -> list[int]:
    answer = await session.send("SystemInfo.getProcessInfo")
    return [process["id"] for process in answer["processInfo"] if process["type"] == "renderer"]


@asynccontextmanager
async def measured(browser: Browser) -> AsyncIterator[RendererMemory]:
    """Measure every renderer of this browser meanwhile; open the page first, and no other."""
    memory = RendererMemory()
    session = await browser.new_browser_cdp_session()

    async def sample() -> None:
        while True:
            for pid in await _renderers(session):
                memory.note(pid)
            await asyncio.sleep(SAMPLE_EVERY_S)

    sampling = asyncio.create_task(sample())
    try:
        yield memory
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
        await session.detach()
