"""The patients of the tunnel's bench (load_go) and its emulated access line (link_go): compiled, and called.

Both are Go programs beside this file, on Go's own library alone: the client must not be what is measured. Every byte of
every download is compared with what was to come; a wrong one is WrongBytes, whatever the figures are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.tunnel_programs import Program

HERE = Path(__file__).parent
LIMIT_S = 120


class WrongBytes(AssertionError):
    """A patient was given other bytes than were sent."""


def build(name: str, folder: Path) -> Path:
    """Compile NAME_go/main.go into `folder`; give the program."""
    program = folder / name
    environment = os.environ | {"GO111MODULE": "off", "GOCACHE": str(folder / "go-cache"), "CGO_ENABLED": "0"}
    go = shutil.which("go") or "/usr/bin/go"
    subprocess.run([go, "build", "-o", program, HERE / f"{name}_go/main.go"], check=True, env=environment)
    return program


@dataclass(frozen=True)
class Load:
    """Patients of one side: where they dial, whose page they expect."""

    program: Path
    address: str
    host: str
    folder: Path
    namespace: str | None = None

    def command(self, what: str, **options: object) -> list[str | Path]:
        """Give the command line; options by their names, seconds as `s` ends in their names."""
        chosen = {
            "address": self.address,
            "name": self.host,
            "ca": self.folder / "page.pem",
            "pattern": self.folder / "pattern",
            "limit_s": LIMIT_S,
            **options,
        }
        words: list[str | Path] = [self.program, what]
        for name, value in chosen.items():
            words += [f"-{name.removesuffix('_s')}", f"{value}s" if name.endswith("_s") else str(value)]
        return words

    def run(self, what: str, **options: object) -> dict[str, Any]:
        """Run to the end and give what it says; WrongBytes, RuntimeError for whatever else failed."""
        inside = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        done = subprocess.run(
            [*inside, *self.command(what, **options)],
            capture_output=True,
            text=True,
            timeout=2 * LIMIT_S,
            check=False,
        )
        if "wrong bytes" in done.stderr:
            raise WrongBytes(self.host)
        if done.returncode:
            raise RuntimeError(f"{what} at {self.host}: {done.stderr.strip()}")
        said = json.loads(done.stdout)
        if said.get("wrong"):
            raise WrongBytes(self.host)
        return said

    def until_served(self, limit_s: float = LIMIT_S, pause_s: float = 0.05) -> float:
        """Try new connections until one is served; give the seconds it took."""
        return float(self.run("until-served", pause_s=pause_s, each_s=5, limit_s=limit_s)["seconds"])

    @contextmanager
    def stalled(self, streams: int) -> Iterator[None]:
        """Have so many readers ask for much and read nothing, until the block ends."""
        program = Program(self.command("stalled", streams=streams), namespace=self.namespace)
        try:
            program.hear()
            yield
        finally:
            program.end()
