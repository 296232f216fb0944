"""Who is due when: each item once, at its last time, and nobody twice in one look."""

from __future__ import annotations

from provisioning.portal.schedule import Schedule


def test_items_are_due_at_their_time_and_once() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.put("late", 3.0)
    schedule.put("early", 1.0)
    assert schedule.due(0.9) == []
    assert schedule.due(3.0) == ["early", "late"]
    assert schedule.due(9.0) == []


def test_another_time_forgets_the_first() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.put("box", 1.0)
    schedule.put("box", 5.0)
    assert schedule.due(4.0) == []
    schedule.hurry("box", 4.5)
    schedule.hurry("box", 8.0)
    assert schedule.due(4.5) == ["box"]


def test_nobody_is_hurried_who_is_not_there() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.put("box", 1.0)
    schedule.drop("box")
    schedule.hurry("box", 0.5)
    assert schedule.due(9.0) == []
    assert len(schedule) == 0


def test_an_item_that_is_put_back_into_the_past_does_not_hold_up_the_rest() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.put("silent", 1.0)
    schedule.put("box", 2.0)
    for item in schedule.due(9.0):
        schedule.put(item, 1.0)
    assert len(schedule) == 2
