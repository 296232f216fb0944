"""Which generations are kept: a day's last for two weeks, a week's for eight, a month's for six months. Pure.

Counted back from the newest generation, never from the clock; and the newest seven are kept whatever the rule says,
so that a clock that leaps, or a box that was off for long, takes no history with it. While a generation is numbered
more than a day ahead of the clock, one of the two is wrong, and nothing lapses.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

DAY_S = 86400
DAYS, WEEK_DAYS, MONTH_DAYS = 14, 56, 183
#: For how long something erased may still be in a generation.
KEEP_DAYS = MONTH_DAYS
ALWAYS_KEPT = 7


def is_ahead(generation: int, now: int) -> bool:
    """Say whether a generation cannot have been made yet by this clock."""
    return generation > now + DAY_S


def lapsed(generations: Sequence[int], now: int) -> list[int]:
    """Give the generations (unix seconds) to forget."""
    if any(is_ahead(generation, now) for generation in generations):
        return []
    newest_first = sorted(generations, reverse=True)
    kept = set(newest_first[:ALWAYS_KEPT])
    for days, name in ((DAYS, "%Y-%m-%d"), (WEEK_DAYS, "%G-%V"), (MONTH_DAYS, "%Y-%m")):
        seen: set[str] = set()
        for generation in newest_first:
            period = datetime.fromtimestamp(generation, UTC).strftime(name)
            if period not in seen and generation > newest_first[0] - days * DAY_S:
                kept.add(generation)
            seen.add(period)
    return sorted(set(generations) - kept)
