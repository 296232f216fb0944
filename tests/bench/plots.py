"""`python -m tests.bench.plots`: draws the last figures to docs/figures/ and writes their tables into docs/figures.md.

Reads build/bench/rounds/; a measurement that was not made keeps its earlier picture and table. The same figures give the
same files: the pictures carry no date.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from tests.bench.figures import HEADINGS, Figure, Goal, read_facts, rows
from tests.simulators.demo_box import ROOT

#: Where the scale of parts of goals begins.
LEAST_PART = 0.01
PAGE = ROOT / "docs/figures.md"
PICTURES = ROOT / "docs/figures"
DEFAULT_FOLDER = ROOT / "build/bench"
TITLES = {
    "database": "SQLCipher against plain SQLite",
    "keys": "Vault opens its keys, and a patient's share",
    "intake": "Documents enter, against a server that only writes and syncs",
    "download": "A patient downloads: portal and tunnel against direct",
    "opening": "From the click to the opened document of 1 MB",
    "erasure": "After an erasure: every key wrapped anew",
    "memory": "Memory of the box's resident units (PSS)",
    "tunnel-bytes": "Bytes through the tunnel, each figure as a part of its goal",
    "tunnel-line": "The tunnel on a practice's line, each figure as a part of its goal",
    "tunnel-crowd": "Many boxes at one portal, each figure as a part of its goal",
    "tunnel-box": "Memory of the box's tunnel and gateway, each figure as a part of its goal",
}
#: Which list of what is missed a measurement belongs to: each is written when all of its measurements are there.
TUNNEL = tuple(name for name in TITLES if name.startswith("tunnel-"))
MISSED_LISTS = {"missed": tuple(name for name in TITLES if name not in TUNNEL), "tunnel missed": TUNNEL}
MET, MISSED, GOAL_COLOUR, STRETCH_COLOUR = "#2f7d5b", "#c2592b", "#1b2a41", "#8a94a6"


def read(folder: Path, name: str) -> tuple[dict[str, Any], list[Figure]] | None:
    """Give conditions and figures of a measurement, None if it was not made."""
    path = folder / "rounds" / f"{name}.json"
    if not path.exists():
        return None
    facts = json.loads(path.read_text())
    return facts["conditions"], [read_facts(figure) for figure in facts["figures"]]


def draw(name: str, figures: Sequence[Figure], path: Path) -> None:
    """Draw one measurement."""
    mpl.rcParams.update({"svg.hashsalt": name, "font.size": 10, "svg.fonttype": "none", "font.family": "sans-serif"})
    if name in TUNNEL:  # a goal of none has no parts
        figures = [figure for figure in figures if figure.goal is not None and figure.goal.bound]
    height = 2.6 if name == "memory" else 1.3 + (0.3 if name in TUNNEL else 0.42) * len(figures)
    drawing, axes = pyplot.subplots(figsize=(8, height), layout="constrained")
    if name == "memory":
        _stacks(axes, figures)
    elif name in TUNNEL:
        _parts_of_goals(axes, figures)
    else:
        _bars(axes, figures)
    axes.set_title(TITLES[name], loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    drawing.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(drawing)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _bars(axes: Axes, figures: Sequence[Figure]) -> None:
    """A bar for each figure, its rounds as dots, and its goal as a line across."""
    for place, figure in enumerate(figures):
        middle = median(figure.judged)
        axes.barh(place, middle, height=0.62, color=MISSED if figure.met is False else MET, zorder=2)
        axes.plot(figure.judged, [place] * len(figure.judged), "o", color="#ffffff", markeredgecolor="#333333",
                  markersize=4, markeredgewidth=0.7, zorder=4)  # fmt: skip
        if figure.goal is not None:
            axes.plot(
                [figure.goal.bound] * 2, [place - 0.42, place + 0.42], color=GOAL_COLOUR, linewidth=2.2, zorder=5
            )
    axes.set_yticks(range(len(figures)), [_label(figure) for figure in figures])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#dddddd", zorder=0)
    on_value = all(figure.goal is not None and figure.goal.on == "value" for figure in figures)
    axes.set_xlabel(
        "seconds; the line is the goal (at most)"
        if on_value
        else "times the baseline; the line is the goal (at least)"
    )


def _label(figure: Figure) -> str:
    what = re.sub(
        r"^(intake by|database:|keys:|download through portal and tunnel,|click to opened|erasure:) ?",
        "",
        figure.name,
    )
    return f"{what}\n{figure.value:.3g} {figure.unit}"


def _stacks(axes: Axes, figures: Sequence[Figure]) -> None:
    """A bar for each moment, a piece for each unit, and the two goals as lines."""
    moments: dict[str, dict[str, float]] = {}
    for figure in figures:
        moment, _, unit = figure.name.removeprefix("memory ").rpartition(", ")
        if figure.goal is None:
            moments.setdefault(moment, {})[unit] = figure.value
    colours = mpl.colormaps["Blues"]
    for place, (_, units) in enumerate(moments.items()):
        start = 0.0
        for number, (unit, value) in enumerate(units.items()):
            shade = 0.25 + 0.6 * number / max(1, len(units) - 1)
            axes.barh(place, value, left=start, height=0.62, color=colours(shade), edgecolor="white", zorder=2)
            axes.text(start + value / 2, place, f"{unit}\n{value:.0f}", ha="center", va="center", fontsize=8,
                      color="white" if shade > 0.5 else "black", zorder=3)  # fmt: skip
            start += value
        axes.text(start + 2, place, f"{start:.0f} MB", va="center", fontsize=9)
    bounds = sorted({figure.goal.bound for figure in figures if figure.goal is not None})
    for bound, colour, name in zip(bounds, (STRETCH_COLOUR, GOAL_COLOUR), ("stretch", "goal"), strict=False):
        axes.axvline(bound, color=colour, linewidth=2.2, linestyle="-" if name == "goal" else "--", zorder=4)
        axes.text(bound, -0.48, f" {name} {bound:g}", color=colour, va="bottom", fontsize=8)
    axes.set_yticks(range(len(moments)), list(moments))
    axes.invert_yaxis()
    axes.set_xlim(0, max(240, *(sum(units.values()) + 25 for units in moments.values())))
    axes.set_xlabel("MB, the sum over all processes of a unit")


def _parts_of_goals(axes: Axes, figures: Sequence[Figure]) -> None:
    """A bar for each figure, as far as it goes of what its goal allows, on a scale of powers; its rounds as dots."""

    def part(goal: Goal, measured: float) -> float:
        return max(measured, 1e-9) / goal.bound if goal.at_most else goal.bound / max(measured, 1e-9)

    for place, figure in enumerate(figures):
        assert figure.goal is not None
        middle = median(figure.judged)
        parts = [max(part(figure.goal, measured), LEAST_PART) for measured in figure.judged]
        axes.barh(place, max(part(figure.goal, middle), LEAST_PART), height=0.62,
                  color=MET if figure.met else MISSED, zorder=2)  # fmt: skip
        axes.plot(parts, [place] * len(parts), "o", color="#ffffff", markeredgecolor="#333333",
                  markersize=3, markeredgewidth=0.6, zorder=4)  # fmt: skip
    axes.axvline(1, color=GOAL_COLOUR, linewidth=2.2, zorder=5)
    axes.set_yticks(range(len(figures)), [figure.name for figure in figures], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(left=LEAST_PART)
    axes.grid(axis="x", color="#dddddd", zorder=0)
    axes.set_xlabel("what the goal allows is 1: a bar that ends left of the line meets it")


def table(conditions: dict[str, Any], figures: Sequence[Figure]) -> str:
    """Write the figures as Markdown, with what they were measured on."""
    headings = [*HEADINGS[:-1], "verdict"]
    lines = [headings, ["---"] * len(headings), *rows(figures)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{text}\n\nMeasured on {conditions['processors']} processors ({conditions['machine']}, Linux {conditions['kernel']}, "
        f"Python {conditions['python']}), load {conditions['load_before']} before, in {conditions['seconds']} s."
    )


def missed(folder: Path, names: Sequence[str]) -> str:
    """List what misses its goal, and by how much."""
    found = [figure for name in names for figure in (read(folder, name) or ({}, []))[1] if figure.met is False]
    lines = [f"- {figure.name}: {median(figure.judged):.3g} where the goal is {figure.goal}" for figure in found]
    return "\n".join(lines) or "Nothing."


def put(page: str, name: str, text: str) -> str:
    """Put a table between its two marks; the words around are people's."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.partition(begin)
    old, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"the page has no place for {name}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def rewrite(folder: Path, page: Path = PAGE, pictures: Path = PICTURES) -> list[str]:
    """Draw and write everything that was measured; give what."""
    text, done = page.read_text(), []
    for name in TITLES:
        measured = read(folder, name)
        if measured is None:
            continue
        draw(name, measured[1], pictures / f"{name}.svg")
        text = put(text, name, table(*measured))
        done.append(name)
    for place, names in MISSED_LISTS.items():
        if set(names) <= set(done):
            text = put(text, place, missed(folder, names))
    page.write_text(text)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plots")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    print("Written anew:", ", ".join(rewrite(parser.parse_args().folder)) or "nothing")


if __name__ == "__main__":
    main()
