"""The time grid: an answer leaves at a whole multiple of 250 ms after its request came.

So the time tells nothing of what was looked up: a proof that fits nothing takes as long as one that does, and two
kinds of work in the same cell look alike (docs/threats.md, A8). Counted from the request, not from a clock of the
process: rounding up to a common clock keeps the mean difference, which many questions would bring out.

Pure: time is an argument.
"""

from __future__ import annotations

import math

GRID_S = 0.25


def pause_s(asked_at: float, now: float, grid_s: float = GRID_S) -> float:
    """Say how long to wait at `now` with the answer to a request that came at `asked_at` (seconds, one clock)."""
    cells = max(1, math.ceil((now - asked_at) / grid_s))
    return max(0.0, asked_at + cells * grid_s - now)
