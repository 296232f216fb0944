"""A figure: what was measured, against what, and whether it meets its goal. Pure, but for writing the files.

A round measures the box and its baseline one after the other; a figure's value is the median over rounds, and its ratio
the median of the rounds' ratios, so that a machine that grows slower meanwhile slows both sides of a ratio alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

#: name, value, unit, baseline, ratio, goal, met: what a figure's file holds, no more.
KEYS = ("name", "value", "unit", "baseline", "ratio", "goal", "met")


@dataclass(frozen=True)
class Goal:
    """A bound on a figure's ratio or on its value."""

    bound: float
    on: str = "ratio"
    at_most: bool = False

    def is_met(self, measured: float) -> bool:
        return measured <= self.bound if self.at_most else measured >= self.bound

    def __str__(self) -> str:
        return f"{self.on} {'<=' if self.at_most else '>='} {self.bound:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the table. `rounds` are (box, baseline or None); higher is better unless the goal is an upper bound."""

    name: str
    unit: str
    rounds: tuple[tuple[float, float | None], ...]
    goal: Goal | None = None

    @property
    def value(self) -> float:
        return median(box for box, _ in self.rounds)

    @property
    def baseline(self) -> float | None:
        known = [baseline for _, baseline in self.rounds if baseline is not None]
        return median(known) if known else None

    @property
    def ratios(self) -> list[float]:
        return [box / baseline for box, baseline in self.rounds if baseline]

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.ratios else None

    @property
    def judged(self) -> list[float]:
        """What the goal is about, of every round."""
        on_value = not self.ratios or (self.goal is not None and self.goal.on == "value")
        return [box for box, _ in self.rounds] if on_value else self.ratios

    @property
    def spread(self) -> tuple[float, float]:
        """Least and greatest of what the goal is about."""
        return min(self.judged), max(self.judged)

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.goal.is_met(median(self.judged))

    def line(self) -> dict[str, object]:
        goal = None if self.goal is None else str(self.goal)
        values = (self.name, _short(self.value), self.unit, _short(self.baseline), _short(self.ratio), goal, self.met)
        return dict(zip(KEYS, values, strict=True))

    def facts(self) -> dict[str, object]:
        """Everything, for the plots."""
        return asdict(self)


def read_facts(facts: dict[str, object]) -> Figure:
    """Give the figure that `facts` came from."""
    goal = facts["goal"]
    rounds = tuple((box, baseline) for box, baseline in facts["rounds"])
    return Figure(facts["name"], facts["unit"], rounds, Goal(**goal) if goal else None)


def interleaved(box: Callable[[], float], plain: Callable[[], float], count: int) -> tuple[tuple[float, float], ...]:
    """Measure in turns: box, plain, plain, box, box, plain …, so that neither always comes second."""
    rounds = []
    for number in range(count):
        if number % 2:
            baseline = plain()
            rounds.append((box(), baseline))
        else:
            rounds.append((box(), plain()))
    return tuple(rounds)


def write(folder: Path, name: str, figures: Sequence[Figure], conditions: dict[str, object]) -> Path:
    """Write NAME.json, the figures, and rounds/NAME.json, every round and what was measured on."""
    path, rounds = folder / f"{name}.json", folder / "rounds" / f"{name}.json"
    rounds.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([figure.line() for figure in figures], indent=2, ensure_ascii=False) + "\n")
    facts = {"conditions": conditions, "figures": [figure.facts() for figure in figures]}
    rounds.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return path


HEADINGS = ("figure", "measured", "baseline", "ratio", "spread", "goal", "")


def rows(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """Give the table's rows as texts, in the order of HEADINGS."""
    verdicts = {True: "met", False: "MISSED", None: ""}
    return [
        (
            figure.name,
            f"{_text(figure.value)} {figure.unit}",
            f"{_text(figure.baseline)} {figure.unit}" if figure.baseline is not None else "–",
            f"{figure.ratio:.2f}" if figure.ratio is not None else "–",
            "–".join(_text(bound) for bound in figure.spread),
            str(figure.goal or "–"),
            verdicts[figure.met],
        )
        for figure in figures
    ]


def table(figures: Iterable[Figure]) -> str:
    """Give the table as plain text."""
    lines = [HEADINGS, *rows(figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
