from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.gateway.time_grid import GRID_S, pause_s

times = st.floats(0, 1e6)


@given(asked_at=times, took=st.floats(0, 30))
def test_every_answer_leaves_on_the_grid_and_none_at_once(asked_at: float, took: float) -> None:
    left = asked_at + took + pause_s(asked_at, asked_at + took)
    cells = (left - asked_at) / GRID_S
    assert cells == pytest.approx(round(cells), abs=1e-4)
    assert round(cells) >= 1


@pytest.mark.parametrize("took", [0.0, 0.0001, 0.03, 0.2, 0.2499])
def test_quick_answers_cannot_be_told_apart_by_time(took: float) -> None:
    assert took + pause_s(100.0, 100.0 + took) == pytest.approx(GRID_S)
