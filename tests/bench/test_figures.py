"""What a figure is: medians, goals, turns."""

from __future__ import annotations

import json

import pytest

from tests.bench.figures import Figure, Goal, interleaved, read_facts, table


def test_a_figure_is_the_median_of_its_rounds_and_its_ratio_that_of_theirs() -> None:
    figure = Figure("one", "MB/s", ((10.0, 20.0), (30.0, 40.0), (2.0, 10.0)), Goal(0.5))
    assert (figure.value, figure.baseline, figure.ratio) == (10.0, 20.0, 0.5)
    assert figure.spread == (0.2, 0.75)
    assert figure.met is True
    assert read_facts(json.loads(json.dumps(figure.facts()))) == figure


@pytest.mark.parametrize(
    ("goal", "rounds", "met"),
    [
        (Goal(0.5), ((1.0, 2.0),), True),
        (Goal(0.5), ((0.99, 2.0),), False),
        (Goal(220, on="value", at_most=True), ((220.0, None),), True),
        (Goal(220, on="value", at_most=True), ((220.1, None),), False),
        (None, ((1.0, None),), None),
    ],
)
def test_a_goal_is_met_at_its_bound_and_missed_beyond(
    goal: Goal | None, rounds: tuple[tuple[float, float | None], ...], met: bool | None
) -> None:
    figure = Figure("one", "MB", rounds, goal)
    assert figure.met is met
    assert ("MISSED" in table([figure])) == (met is False)


def test_rounds_take_turns_and_neither_side_always_comes_second() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    assert interleaved(lambda: side("box", 1.0), lambda: side("plain", 2.0), 3) == ((1.0, 2.0),) * 3
    assert order == ["box", "plain", "plain", "box", "box", "plain"]
