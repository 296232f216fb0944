"""The bench runs, writes its files well-formed, and draws them; how fast anything is, is not asked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from tests.bench import plots
from tests.bench.__main__ import NAMES, measure
from tests.bench.figures import KEYS, write
from tests.simulators.demo_box import ROOT, DemoBox

CONDITIONS = {"processors": 2, "machine": "x86_64", "kernel": "6", "python": "3", "load_before": 0.1, "seconds": 1}


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """What a figure's file holds, each key there."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    value: Annotated[float, msgspec.Meta(ge=0)]
    unit: Annotated[str, msgspec.Meta(min_length=1)]
    baseline: Annotated[float, msgspec.Meta(gt=0)] | None
    ratio: Annotated[float, msgspec.Meta(gt=0)] | None
    goal: Annotated[str, msgspec.Meta(pattern=r"^(ratio >=|value <=) [0-9.]+\Z")] | None
    met: bool | None


def lines_of(path: Path) -> list[Line]:
    lines = msgspec.json.decode(path.read_bytes(), type=list[Line])
    assert lines
    assert all(tuple(line) == KEYS for line in json.loads(path.read_text()))
    assert len({line.name for line in lines}) == len(lines), "every name once"
    assert all((line.goal is None) == (line.met is None) for line in lines)
    return lines


@pytest.mark.box
@pytest.mark.parametrize("name", NAMES)
async def test_a_measurement_runs_and_writes_what_can_be_read_and_drawn(
    box: DemoBox, tmp_path: Path, name: str
) -> None:
    figures = await measure(name, box, short=True)
    path = write(tmp_path, name, figures, CONDITIONS)
    assert path == tmp_path / f"{name}.json"
    lines = lines_of(path)
    assert [line.name for line in lines] == [figure.name for figure in figures]
    assert any(line.goal for line in lines)

    page = tmp_path / "figures.md"
    page.write_text((ROOT / "docs/figures.md").read_text())
    assert plots.rewrite(tmp_path, page, tmp_path / "pictures") == [name]
    assert (tmp_path / f"pictures/{name}.svg").read_text().rstrip().endswith("</svg>")
    assert all(line.name in page.read_text() for line in lines)
