"""A picture of a soak: the memory of each process over time, with the line whose slope was judged."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import matplotlib
from matplotlib.figure import Figure

from tests.soak.result import Result


def plot(result: Result, path: Path) -> None:
    """Draw it to `path`."""
    matplotlib.rcParams["svg.hashsalt"] = "soak"  # the same figures give the same file
    figure = Figure(figsize=(7, 3.2))
    axes = figure.subplots()
    for process, samples in sorted(result.memory.items()):
        [line] = axes.plot(
            [at / 60 for at, _ in samples], [kib / 1024 for _, kib in samples], linewidth=0.8, label=process
        )
        judged = [(at, kib) for at, kib in samples if at >= result.plan.seconds / 3]
        middle_at, middle = fmean(at for at, _ in judged), fmean(kib for _, kib in judged)
        ends = (judged[0][0], judged[-1][0])
        drawn = [(middle + result.slopes[process].per_s * (at - middle_at)) / 1024 for at in ends]
        axes.plot([at / 60 for at in ends], drawn, linestyle="--", linewidth=1, color=line.get_color())
    axes.set_xlabel("minutes")
    axes.set_ylabel("MiB resident")
    axes.set_ylim(bottom=0)
    axes.set_title(
        f"{result.plan.patients} patients, {result.tally.documents} documents, {sum(result.cuts.values())} cuts"
    )
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
