"""What a soak is planned to be, what was counted in it, and what of that is a fault."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.attacks.process_memory import descriptors
from tests.soak.downloads import Tally
from tests.soak.slope import Slope

#: Pipes that a relay keeps for the next patient are no leak; all else is counted to the last one.
KEPT_PIPES = 128


@dataclass(frozen=True)
class Plan:
    """How long, how many, how fast (bytes a second and patient), how often the portal is killed.

    `growth_kib`: what may surely have grown in a process over the measured time (slope.py). 4 MiB in half an hour shows a leak
    of a few hundred bytes for each document; in two minutes the allocator's warming up is more than that.
    """

    seconds: float
    patients: int
    seed: int
    pace: tuple[float, float] = (8_000.0, 32_000.0)
    portal_kills: int = 6
    sample_s: float = 1.0
    growth_kib: float = 4 * 1024.0


#: What differs below SHORT_S seconds.
SHORT_S = 600.0
SHORT: dict[str, Any] = {"portal_kills": 1, "sample_s": 0.5, "growth_kib": 24 * 1024.0}


@dataclass
class Result:
    """Everything that was counted."""

    plan: Plan
    tally: Tally
    cuts: dict[str, int] = field(default_factory=lambda: {"control": 0, "work": 0, "portal": 0})
    #: process -> (second, KiB)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    slopes: dict[str, Slope] = field(default_factory=dict)
    #: process -> descriptors by kind before and after
    before: dict[str, Counter[str]] = field(default_factory=dict)
    after: dict[str, Counter[str]] = field(default_factory=dict)
    portal_said: str = ""

    def left_over(self) -> dict[str, Counter[str]]:
        """Give the descriptors by kind that a process has more of than before, where there are any."""
        more = {process: self.after[process] - self.before[process] for process in self.after}
        more["portal"] -= Counter(pipe=KEPT_PIPES)
        return {process: kinds for process, kinds in more.items() if kinds}

    def faults(self) -> list[str]:
        """Give what was not as it must be."""
        found = []
        if self.tally.wrong or not self.tally.documents:
            found.append(f"{self.tally.wrong} of {self.tally.documents} documents were wrong")
        found += [f"{process} still holds {dict(more)}" for process, more in self.left_over().items()]
        for process, slope in self.slopes.items():
            if slope.surely_grown_kib > self.plan.growth_kib:
                found.append(f"{process} grew by at least {slope.surely_grown_kib:.0f} KiB")
        for left in ("relays_now", "connections_now"):
            if left in self.portal_said:
                found.append(f"the portal still counts: {self.portal_said}")
        return found

    def summary(self) -> dict[str, object]:
        slopes = {
            name: {
                "kib_per_hour": round(slope.per_s * 3600, 1),
                "uncertain_by": round(slope.uncertain_by * 3600, 1),
                "seconds": round(slope.seconds),
            }
            for name, slope in self.slopes.items()
        }
        return {
            "plan": asdict(self.plan),
            **asdict(self.tally),
            "cuts": self.cuts,
            "slopes": slopes,
            "descriptors": {process: (self.before[process], self.after[process]) for process in self.after},
            "portal_said": self.portal_said,
            "faults": self.faults(),
        }


def held_by(pid: int) -> Counter[str]:
    """Give how many descriptors of each kind a process holds: socket, pipe, anon_inode:[eventpoll], a file's name."""
    return Counter(
        name.partition(":[")[0] if name.startswith(("socket", "pipe")) else name for name in descriptors(pid).values()
    )


def write(result: Result, folder: Path) -> None:
    """Write the result and what it was made of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(result.summary(), indent=2) + "\n")
    (folder / "soak-memory.json").write_text(json.dumps(result.memory) + "\n")
