"""The memory of the real box's tunnel and gateway: idle, and while 50 patients download at once."""

from __future__ import annotations

from pathlib import Path

from tests.bench.figures import Figure


def measure(load: Path) -> list[Figure]:
    return []
