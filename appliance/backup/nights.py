"""When the next backup begins: each night at the box's own moment between one and four, or after a pause. Pure.

The moment is drawn once for each box, so that ten thousand boxes do not come at once. A night that was missed,
because the box was off, locked or restoring, is made up as soon as it can be.
"""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_S, LAST_S = 1 * 3600, 4 * 3600
RETRY_FIRST_S, RETRY_CAP_S = 300, 4 * 3600


def night_after(at: int, night_s: int) -> int:
    """Give the first moment after `at` that is `night_s` seconds after a local midnight."""
    midnight = datetime.fromtimestamp(at).replace(hour=0, minute=0, second=0, microsecond=0)  # noqa: DTZ006 (local time)
    for days in range(3):
        moment = int((midnight + timedelta(days=days, seconds=night_s)).timestamp())
        if moment > at:
            return moment
    raise AssertionError


def next_backup(*, good_at: int, set_at: int, night_s: int, failed_at: int, failures: int, now: int) -> int:
    """Give when the next backup is due: after the last good one, or after the store was set; later after failures.

    A moment that is still to come is one of a clock that was wrong, and counts as never: a backup is due at once.
    """
    good_at, set_at, failed_at = (0 if moment > now else moment for moment in (good_at, set_at, failed_at))
    due = night_after(max(good_at, set_at), night_s)
    return max(due, failed_at + retry_pause(failures)) if failures else due


def retry_pause(failures: int) -> int:
    """Give the pause after that many failures in a row: five minutes, doubling, at most four hours."""
    return int(min(RETRY_CAP_S, RETRY_FIRST_S * 2 ** min(failures - 1, 10)))
