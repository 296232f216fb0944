"""Limits: how many different things one principal may take in a window of time. Pure: `now` is an argument.

Counted for the member of staff, so for each of their sessions together: logging in again gives no new allowance
(docs/threats.md, A26). Held in memory; a restart of records forgets, which an attacker on the LAN cannot cause.
"""

from __future__ import annotations

from collections import OrderedDict

from appliance.core.errors import Unavailable


class Limit:
    """At most `count` different things per principal and `window_s`; beyond, Unavailable(code, wait_s)."""

    def __init__(self, code: str, count: int, window_s: int) -> None:
        self._code = code
        self._count = count
        self._window_s = window_s
        self._taken: dict[str, OrderedDict[str, float]] = {}

    def take(self, principal: str, thing: str, now: float) -> bool:
        """Count a thing; False if it was counted in the window already."""
        self._forget(now)
        taken = self._taken.setdefault(principal, OrderedDict())
        if thing in taken:
            return False
        if len(taken) >= self._count:
            oldest = next(iter(taken.values()))
            raise Unavailable(self._code, wait_s=max(1, int(oldest + self._window_s - now) + 1))
        taken[thing] = now
        return True

    def give_back(self, principal: str, thing: str) -> None:
        """Forget that a thing was taken."""
        self._taken.get(principal, OrderedDict()).pop(thing, None)

    def _forget(self, now: float) -> None:
        for principal, taken in list(self._taken.items()):
            while taken and next(iter(taken.values())) <= now - self._window_s:
                taken.popitem(last=False)
            if not taken:
                del self._taken[principal]
