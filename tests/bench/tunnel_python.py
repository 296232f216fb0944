"""The Python that all sides of the tunnel's bench run on, with what they are compared with: an environment of its own.

snitun's newest release needs Python 3.13. Where one is found, everything runs on it: portal, box, baseline and snitun;
else everything runs on the Python of this environment with the newest release that it takes, and the figures say so.

`python -m tests.bench.tunnel_python` makes the environment from requirements/bench-tunnel.txt and says its Python.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.simulators.demo_box import ROOT

WANTED = (3, 13)
ENVIRONMENT = ROOT / "build/bench-tunnel/venv"
REQUIREMENTS = ROOT / "requirements"
LOOK_S = 20


def candidates() -> Iterator[str]:
    """Give where a Python 3.13 may be: on the path, or among pyenv's."""
    name = "python{}.{}".format(*WANTED)
    if found := shutil.which(name):
        yield found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from (str(path) for path in sorted(versions.glob("{}.{}.*/bin/python".format(*WANTED)), reverse=True))


def find_python() -> str:
    """Give a Python 3.13 that starts, else this one."""
    for path in candidates():
        answer = subprocess.run(
            [path, "-c", "import ssl, sys, venv; print(sys.version_info[:2])"],
            capture_output=True, text=True, timeout=LOOK_S, check=False,
        )  # fmt: skip
        if answer.stdout.strip() == str(WANTED):
            return path
    return sys.executable


def bench_python() -> Path:
    """Give the environment's Python; made when it is missing or its requirements changed."""
    python, stamp = ENVIRONMENT / "bin/python", ENVIRONMENT / "made-from"
    wanted = (REQUIREMENTS / "bench-tunnel.txt").read_text()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    base = find_python()
    print(f"Making an environment of {base} for all sides of the comparison", file=sys.stderr, flush=True)
    subprocess.run([base, "-m", "venv", ENVIRONMENT], check=True)
    # Two steps, as in the Makefile: what compiles the one source-only package comes from the lock too.
    install = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--no-deps",
    ]
    subprocess.run([*install, "-r", REQUIREMENTS / "build.txt"], check=True)
    subprocess.run(
        [*install, "--no-build-isolation", "--use-pep517", "-r", REQUIREMENTS / "bench-tunnel.txt"], check=True
    )
    stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    print(bench_python())
