"""The bench runs, writes its files well-formed, and draws them; how fast anything is, is not asked here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from tests.bench import plots, tunnel, tunnel_memory, tunnel_sides
from tests.bench.__main__ import NAMES, measure
from tests.bench.figures import KEYS, Figure, write
from tests.bench.tunnel_python import bench_python
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


class TunnelLine(Line, forbid_unknown_fields=True):
    """The same of the tunnel's bench: what is added to something may be less than nothing."""

    value: float
    goal: Annotated[str, msgspec.Meta(pattern=r"^(ratio [<>]=|value <=) [0-9.]+\Z")] | None


def lines_of(path: Path, kind: type[Line] = Line) -> list[Line]:
    lines = msgspec.json.decode(path.read_bytes(), type=list[kind])
    assert lines
    assert all(tuple(line) == KEYS for line in json.loads(path.read_text()))
    assert len({line.name for line in lines}) == len(lines), "every name once"
    assert all((line.goal is None) == (line.met is None) for line in lines)
    return lines


def written_and_drawn(folder: Path, name: str, figures: list[Figure], kind: type[Line] = Line) -> None:
    path = write(folder, name, figures, CONDITIONS)
    assert path == folder / f"{name}.json"
    lines = lines_of(path, kind)
    assert [line.name for line in lines] == [figure.name for figure in figures]
    assert any(line.goal for line in lines)

    page = folder / "figures.md"
    page.write_text((ROOT / "docs/figures.md").read_text())
    assert plots.rewrite(folder, page, folder / "pictures") == [name]
    assert (folder / f"pictures/{name}.svg").read_text().rstrip().endswith("</svg>")
    assert all(line.name in page.read_text() for line in lines)


@pytest.mark.box
@pytest.mark.parametrize("name", NAMES)
async def test_a_measurement_runs_and_writes_what_can_be_read_and_drawn(
    box: DemoBox, tmp_path: Path, name: str
) -> None:
    written_and_drawn(tmp_path, name, await measure(name, box, short=True))


@pytest.mark.parametrize(
    ("part", "sides"), [("bytes", tunnel_sides.NAMES), ("line", ("direct", "work", "streams")), ("crowd", ())]
)
def test_a_part_of_the_tunnels_bench_runs_with_every_byte_right_and_is_drawn(
    tmp_path: Path, part: str, sides: tuple[str, ...]
) -> None:
    bench = tunnel.Bench(bench_python(), tunnel.PROGRAMS, sides, short=True)
    written_and_drawn(tmp_path, f"tunnel-{part}", bench.measure(part, tmp_path / part), TunnelLine)


@pytest.mark.box
async def test_the_memory_of_the_boxs_tunnel_and_gateway_is_measured_while_patients_download(
    box: DemoBox, tmp_path: Path
) -> None:
    written_and_drawn(tmp_path, "tunnel-box", await tunnel_memory.measure_box(box, short=True), TunnelLine)
