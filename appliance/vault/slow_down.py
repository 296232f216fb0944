"""Slowing down guesses: after 5 wrong ones in a row the next must wait, never longer than a minute. Pure.

An attempt is charged before it is checked and forgiven when it was right, so parallel attempts gain nothing. There
is no lock-out: after the wait one attempt is free again. What is not known is slowed down like what is. The counts
are in memory only: they end with the process.
"""

from __future__ import annotations

from collections import OrderedDict

FREE_ATTEMPTS = 5
LONGEST_WAIT_S = 60
MAX_NAMES = 1000


class SlowDown:
    """Counts wrong attempts by name; the least recently tried of more than 1000 names is forgotten."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def charge(self, name: str, now: int) -> int:
        """Count an attempt and give 0, or count nothing and give the seconds to wait."""
        wrong, last_at = self._wrong.get(name, (0, now))
        wait_s = wait_after(wrong) - (now - last_at)
        if wait_s > 0:
            return wait_s
        self._wrong[name] = wrong + 1, now
        self._wrong.move_to_end(name)
        if len(self._wrong) > MAX_NAMES:
            self._wrong.popitem(last=False)
        return 0

    def forgive(self, name: str) -> None:
        """The attempt was right: the count starts anew."""
        self._wrong.pop(name, None)


def wait_after(wrong: int) -> int:
    """Give the seconds to wait after so many wrong attempts in a row: 1, 2, 4 ... 60."""
    if wrong < FREE_ATTEMPTS:
        return 0
    return min(LONGEST_WAIT_S, 1 << min(wrong - FREE_ATTEMPTS, 6))
