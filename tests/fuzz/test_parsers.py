"""Every parser of bytes from outside, under bytes chosen by coverage: only declared failures come out.

The number of inputs is fixed and the seed printed; `python -m tests.fuzz TARGET --seed S` gives the same again, and
more with `--runs`.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import targets

ROOT = Path(__file__).parents[2]
RUNS = 2000
TIMEOUT_S = 300


def fuzz(target: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz", target, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S)


@pytest.mark.parametrize("target", targets.NAMES)
def test_a_parser_lets_out_nothing_but_its_declared_failures(target: str) -> None:
    seed = random.randrange(1, 2**31)
    print(f"{target}: {RUNS} inputs, seed {seed}")
    ended = fuzz(target, "--runs", str(RUNS), "--seed", str(seed))
    assert ended.returncode == 0, f"seed {seed}\n{ended.stderr[-4000:]}"


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("data[int.from_bytes(data[3:5], 'big') + 4]", "IndexError"),
        ("bytearray(int.from_bytes(data[2:6], 'big'))", "MemoryError"),
    ],
)
def test_an_input_that_breaks_its_parser_is_told_with_its_bytes(tmp_path: Path, fault: str, failure: str) -> None:
    """The targets can fail: one of them, given a parser that trusts a length."""
    trusting = tmp_path / "trusting.py"
    trusting.write_text(
        "from tests.fuzz import __main__ as fuzz, parsers\n"
        "def careless(data):\n"
        "    if data[:1] == b'\\x16' and len(data) > 60:\n"
        f"        {fault}\n"
        "parsers.read_client_hello = careless\n"
        "fuzz.main()\n"
    )
    command = [sys.executable, str(trusting), "client_hello", "--runs", "4000", "--seed", "1", "--unguided"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=environment, timeout=TIMEOUT_S
    )
    assert ended.returncode != 0
    assert "broken by 16" in ended.stderr
    assert failure in ended.stderr
