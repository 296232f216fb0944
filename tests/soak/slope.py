"""Whether memory grows: a line through samples, and how sure one can be of its slope.

Samples a second apart depend on each other, which would make any line look sure. So they are averaged in BLOCKS blocks, and the line is
laid through these; the bound is Student's t for BLOCKS - 2 degrees of freedom, one-sided 97.5 %.
Source: ordinary least squares; batch means (Law, "Simulation Modeling and Analysis", chapter 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

BLOCKS = 20
STUDENT_T = 2.101  # 18 degrees of freedom


@dataclass(frozen=True)
class Slope:
    """KiB a second, and half the width of its confidence interval."""

    per_s: float
    uncertain_by: float
    seconds: float

    @property
    def surely_grown_kib(self) -> float:
        """What the line says that grew in the time measured, at the least."""
        return (self.per_s - self.uncertain_by) * self.seconds


def slope_of(samples: Sequence[tuple[float, float]]) -> Slope:
    """Give the slope of (second, KiB) samples, at least two for each block."""
    if len(samples) < 2 * BLOCKS:
        raise ValueError("too few samples")
    blocks = [
        samples[len(samples) * block // BLOCKS : len(samples) * (block + 1) // BLOCKS] for block in range(BLOCKS)
    ]
    points = [(fmean(at for at, _ in block), fmean(value for _, value in block)) for block in blocks]
    middle_at, middle = fmean(at for at, _ in points), fmean(value for _, value in points)
    spread = sum((at - middle_at) ** 2 for at, _ in points)
    per_s = sum((at - middle_at) * (value - middle) for at, value in points) / spread
    left = sum((value - middle - per_s * (at - middle_at)) ** 2 for at, value in points)
    error = (left / (BLOCKS - 2) / spread) ** 0.5
    return Slope(per_s, STUDENT_T * error, samples[-1][0] - samples[0][0])
