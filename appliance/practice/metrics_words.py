"""Reads the metrics other processes give (Prometheus text format 0.0.4) for the status page. Pure.

Only what we write ourselves: `praxis_<name>{outcome="<word>"} <number>` and `praxis_<name> <number>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_SAMPLE = re.compile(r'praxis_([a-z0-9_]+)(?:\{outcome="([a-z0-9_]+)"\})? ([0-9.e+-]+)\Z')
MAX_LINES = 2000


@dataclass(frozen=True)
class Sample:
    """One number: its name without prefix, its outcome ("" for none)."""

    name: str
    outcome: str
    value: int


def read_samples(text: str) -> Iterator[Sample]:
    """Give the samples in order; lines of any other shape (and creation times) are left out."""
    for line in text.splitlines()[:MAX_LINES]:
        found = _SAMPLE.match(line)
        if found and not found[1].endswith("_created"):
            yield Sample(found[1], found[2] or "", int(float(found[3])))
