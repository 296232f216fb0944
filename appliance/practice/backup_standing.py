"""How it stands with the backup: one sentence with a colour, and the last thirty days. Pure; `now` is unix time."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Literal

from appliance.contracts.backup import BackupState, Generation
from appliance.practice.texts import local_time

#: From this age the last good copy is too old to call it good: two nights failed.
OLD_DAYS = 3
#: A moment that is further ahead was noted by a clock that was wrong.
AHEAD_S = 3600
SHOWN_DAYS = 30

Tone = Literal["good", "attention", "bad"]
DayMark = Literal["tested", "made", "none"]


@dataclass(frozen=True)
class Standing:
    """The sentence (`backup.standing.<key>` in the texts), its colour, and what to do next, if anything."""

    tone: Tone
    key: str
    days: int = 0
    #: The page that leads on.
    action: Literal["", "kit", "store", "restore"] = ""


@dataclass(frozen=True)
class Day:
    """A day of the drawing."""

    date: datetime.date
    mark: DayMark = field(default="none")


def standing(state: BackupState | None, *, has_kit: bool, now: float) -> Standing:
    """Say how it stands; None for a backup process that does not answer."""
    if state is None:
        return Standing("bad", "away")
    if state.running is not None and state.running.work == "restore":
        return Standing("attention", "restoring", action="restore")
    if not has_kit:
        return Standing("bad", "no_kit", action="kit")
    if state.store is None:
        return Standing("bad", "no_store", action="store")
    if (state.last_good_at or state.store.set_at) > now + AHEAD_S:
        return Standing("bad", "clock_wrong")
    is_failed = state.last_backup is not None and bool(state.last_backup.code)
    if not state.last_good_at:
        return Standing("bad", "never_good") if is_failed else Standing("attention", "none_yet")
    days = days_ago(state.last_good_at, now)
    if days >= OLD_DAYS:
        return Standing("bad", "old", days)
    when = ("today", "yesterday", "before_yesterday")[days]
    return (
        Standing("attention", f"failed_since_{when}", days) if is_failed else Standing("good", f"good_{when}", days)
    )


def days_ago(moment: int, now: float) -> int:
    """Give how many midnights lie between a moment and now, by the practice's clock."""
    return max(0, (local_time(now).date() - local_time(moment).date()).days)


def last_days(generations: list[Generation], now: float) -> list[Day]:
    """Give the last thirty days, today last: was a copy made that day, and was it tested."""
    marks: dict[datetime.date, DayMark] = {}
    for one in generations:
        date = local_time(one.made_at).date()
        if one.tested_at:
            marks[date] = "tested"
        else:
            marks.setdefault(date, "made")
    today = local_time(now).date()
    dates = [today - datetime.timedelta(days=back) for back in range(SHOWN_DAYS - 1, -1, -1)]
    return [Day(date, marks.get(date, "none")) for date in dates]
