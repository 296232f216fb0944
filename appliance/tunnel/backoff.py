"""How long to wait before dialling again: exponential, capped, with full jitter. Pure: chance is an argument.

Full jitter, so that many boxes that lost the portal together do not come back together.
Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

MAX_DOUBLINGS = 16


class Backoff:
    """Counts attempts that failed in a row."""

    def __init__(self, first_s: float, cap_s: float) -> None:
        self._first_s = first_s
        self._cap_s = cap_s
        self._failures = 0

    def next_s(self, chance: float, at_least_s: float = 0.0) -> float:
        """Give the seconds to wait after one more failure; `chance` is uniform in [0, 1).

        `at_least_s` is what the portal asked for; it is capped too.
        """
        ceiling = min(self._cap_s, self._first_s * 2.0 ** min(self._failures, MAX_DOUBLINGS))
        self._failures += 1
        return min(self._cap_s, at_least_s) + chance * ceiling

    def succeeded(self) -> None:
        """Start over after a session that was accepted."""
        self._failures = 0
