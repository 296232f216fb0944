"""The drill in its short form: a small practice, the same steps. `make drill` is the whole one. Each test is one claim."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from tests.drill.campaign import Report, run
from tests.drill.operator_script import GOAL_S
from tests.drill.papers import FULL, SHORT, lengths

pytestmark = pytest.mark.box


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    beside: Path = tmp_path_factory.mktemp("drill")
    return asyncio.run(run(SHORT, lambda line: print(f"drill: {line}", file=sys.stderr), beside))


def test_every_document_comes_back_with_the_same_bytes_and_what_was_erased_does_not(report: Report):
    assert report.faults == []
    assert report.documents == SHORT.documents - 2


def test_a_person_is_at_it_for_less_than_three_minutes(report: Report):
    assert sum(step.took_s for step in report.steps) < GOAL_S


def test_the_whole_drill_is_as_large_as_a_practice():
    assert (FULL.patients, FULL.documents) == (1_000, 20_000)
    assert sum(lengths(FULL)) == pytest.approx(5 << 30, rel=0.001)
