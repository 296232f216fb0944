"""Time as vault sees it: it never goes back, not even over a restart.

now = the highest of the system's clock, what the state says was seen before, and that plus the time that has really
passed since (CLOCK_BOOTTIME, clock_gettime(2)). So a clock that is set back cannot make a share live longer: time
goes on from where it was. A clock that once ran ahead is believed for good (docs/formats/vault-state.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable


def _boot_time_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Clock:
    """Whole seconds since 1970, UTC."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = _boot_time_s) -> None:
        self._wall = wall
        self._steady = steady
        self._floor = 0.0
        self._floor_at = steady()

    def now(self) -> int:
        """Give the time."""
        steady = self._steady()
        self._floor = max(self._wall(), self._floor + steady - self._floor_at)
        self._floor_at = steady
        return int(self._floor)

    def steady_s(self) -> float:
        """Give seconds since some moment, which nobody sets: for how long ago something in memory was."""
        return self._steady()

    def raise_to(self, seen_at: int) -> None:
        """Never give less than this from now on."""
        self.now()
        self._floor = max(self._floor, float(seen_at))
