"""The soak's short form, SOAK_SECONDS=60 if nothing else is said; `make soak` is the long one. And what it judges by."""

from __future__ import annotations

import os
import random
import secrets
from pathlib import Path

import pytest

from tests.soak.plot import plot
from tests.soak.result import SHORT, Plan, write
from tests.soak.slope import slope_of
from tests.soak.soak import soak, to_standard_error

SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", secrets.randbelow(1 << 32)))
#: Slow patients: this runs beside other tests.
PACE = (4_000.0, 16_000.0)


async def test_after_cuts_everywhere_every_document_is_right_and_nothing_is_left_over(tmp_path: Path) -> None:
    plan = Plan(SECONDS, 200, SEED, pace=PACE, **SHORT)
    result = await soak(plan, tmp_path, to_standard_error)
    write(result, tmp_path / "out")
    plot(result, tmp_path / "out/soak.svg")
    assert not result.faults(), (tmp_path / "out/soak.json").read_text()
    assert result.tally.documents > plan.patients / 2
    assert result.tally.broken_off
    assert result.tally.ended, "connections did end"
    assert result.cuts["portal"] == plan.portal_kills
    assert result.cuts["work"]
    assert (tmp_path / "out/soak.svg").read_bytes().startswith(b"<?xml")


# --- The judge ---------------------------------------------------------------------------------------------------


def memory(grows_kib_per_s: float, noise_kib: float, seconds: int = 1200) -> list[tuple[float, float]]:
    """Samples as a process gives them: steps up and down that last for some seconds, and a slope."""
    chance = random.Random(31)
    level, samples = 0.0, []
    for second in range(seconds):
        if chance.random() < 0.1:
            level = chance.gauss(0, noise_kib)
        samples.append((float(second), 50_000 + level + grows_kib_per_s * second))
    return samples


def test_a_slope_is_seen_and_noise_is_not_taken_for_one() -> None:
    """Half an hour with 12 documents a second: 1 kB lost with each is 12 KiB a second."""
    assert slope_of(memory(12, 2000)).surely_grown_kib > 4096
    assert slope_of(memory(0, 2000)).surely_grown_kib < 4096
    assert slope_of(memory(-5, 2000)).surely_grown_kib < 0
    exact = slope_of(memory(1, 0))
    assert exact.per_s == pytest.approx(1)
    assert exact.uncertain_by == pytest.approx(0, abs=1e-9)


def test_too_few_samples_are_no_judgement() -> None:
    with pytest.raises(ValueError):
        slope_of(memory(0, 1, seconds=39))
