"""What is killed, during what, and when: drawn from one seed, so that any round can be run again by its number.

Pure. Each block of rounds kills every process once, in an order of its own; each process goes through its own deck of
steps, in which those it takes part in come up more often than the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

#: All that stay. The portal stands outside the box; preview lives for one document and has no life to lose.
PROCESSES = ("vault", "records", "audit", "practice", "gateway", "tunnel", "certificate", "watch", "portal")
OFTEN = 3
SMALLEST_BYTES, LARGEST_BYTES = 50_000, 4_000_000


@dataclass(frozen=True)
class Step:
    """Something a person does: within how long the kill falls, and which processes take part."""

    within_s: float
    takes_part: frozenset[str]


def _step(within_s: float, processes: str) -> Step:
    return Step(within_s, frozenset(processes.split()))


STEPS: Mapping[str, Step] = {
    "upload": _step(0.5, "practice records vault audit"),  # walk 1, by the form
    "put": _step(0.6, "practice records vault audit"),  # walk 1, by practice software
    "read": _step(0.4, "practice records vault audit"),  # staff save a document
    "share": _step(0.6, "practice records vault audit"),
    "look": _step(0.3, "portal tunnel gateway vault"),  # the patient's page and the share's state
    "wrong PIN": _step(0.3, "portal tunnel gateway vault audit"),
    "right PIN": _step(0.3, "portal tunnel gateway vault audit"),
    "fetch": _step(0.5, "portal tunnel gateway"),  # the patient's transfer
    "renew": _step(2.0, "certificate gateway vault tunnel portal"),  # the page's certificate, at once
    "idle": _step(0.0, " ".join(PROCESSES)),  # nobody asks: it has to come back by itself
}


@dataclass(frozen=True)
class Round:
    """One kill: `process` gets SIGKILL `delay_s` after `step` began."""

    number: int
    process: str
    step: str
    delay_s: float
    size_bytes: int

    def __str__(self) -> str:
        return f"round {self.number}: {self.process} at {self.delay_s:.3f} s of {self.step}, {self.size_bytes} bytes"


def rounds(seed: int) -> Iterator[Round]:
    """Give the rounds of a seed, without end."""
    random, number = Random(seed), 0
    decks: dict[str, list[str]] = {process: [] for process in PROCESSES}
    while True:
        for process in random.sample(PROCESSES, len(PROCESSES)):
            deck = decks[process]
            if not deck:
                deck += [
                    name for name, step in STEPS.items() for _ in range(OFTEN if process in step.takes_part else 1)
                ]
                random.shuffle(deck)
            number += 1
            step = deck.pop()
            delay_s, size_bytes = (
                random.uniform(0, STEPS[step].within_s),
                random.randint(SMALLEST_BYTES, LARGEST_BYTES),
            )
            yield Round(number, process, step, delay_s, size_bytes)
