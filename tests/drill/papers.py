"""The drill's practice: patients, and documents whose sizes are as uneven as real ones. Pure but for their bytes."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.scale.practice import Paper, Size, papers

HEAD = b"%PDF-1.7\n"
#: Most documents are a page or two, some are scans of many pages (lognormal, cut off).
SPREAD, LONGEST = 1.0, 16


@dataclass(frozen=True)
class Drill:
    """How large the practice is."""

    patients: int
    documents: int
    bytes: int

    @property
    def size(self) -> Size:
        """The same as the large practice's tests have it."""
        return Size(patients=self.patients, documents=self.documents, live_shares=0, ended_shares=0, with_text=0.3)


FULL = Drill(patients=1_000, documents=20_000, bytes=5 << 30)
SHORT = Drill(patients=20, documents=200, bytes=24 << 20)


def lengths(drill: Drill) -> list[int]:
    """Give each document's length in bytes; their sum is the drill's."""
    chance = random.Random("lengths")
    parts = [min(LONGEST, chance.lognormvariate(0, SPREAD)) for _ in range(drill.documents)]
    whole = sum(parts)
    return [max(len(HEAD) + 1, math.floor(drill.bytes * part / whole)) for part in parts]


def scans(drill: Drill) -> Iterator[Paper]:
    """Give the documents; their bytes are noise, which nothing on the way makes smaller."""
    for number, (paper, length) in enumerate(zip(papers(drill.size), lengths(drill), strict=True)):
        yield replace(paper, patient=number % drill.patients, content=HEAD + os.urandom(length - len(HEAD)))
