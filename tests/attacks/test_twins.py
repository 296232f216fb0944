"""Each attack test has a twin: a fault that makes it fail. A test that cannot fail shows nothing.

`faults/<name>.patch` begins with a line `# caught by: <pytest node>`. The patch is applied to a copy of the tree; the
named test is run there and must fail. A patch that no longer applies fails the build.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = sorted((Path(__file__).parent / "faults").glob("*.patch"))
CASES = ("a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a12", "a16", "a18", "a27")


def copy_of_tree(folder: Path) -> Path:
    """Copy what git tracks or would track; installed packages are linked, not copied."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    tree = folder / "tree"
    for name in filter(None, names):
        source = ROOT / name
        if source.is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, tree / name)
    for installed in (".venv", "appliance/gateway/page/node_modules"):
        subprocess.run(["cp", "-al", str((ROOT / installed).resolve()), str(tree / installed)], check=True)
    return tree


def caught_by(fault: Path) -> str:
    first = fault.read_text(encoding="utf-8").splitlines()[0]
    found = re.fullmatch(r"# caught by: (tests/\S+::\S+)", first)
    assert found, f"{fault.name} does not say which test catches it"
    return found.group(1)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.stem)
def test_fault_is_caught(tmp_path, fault):
    tree = copy_of_tree(tmp_path)
    applied = subprocess.run(
        ["git", "apply", "--recount", "--whitespace=nowarn", str(fault)], cwd=tree, capture_output=True, text=True
    )
    assert applied.returncode == 0, f"{fault.name} no longer applies: {applied.stderr}"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", caught_by(fault)],
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 1, f"{fault.stem} was not caught:\n{run.stdout[-3000:]}{run.stderr[-2000:]}"
    assert re.search(r"\d+ failed", run.stdout), f"{fault.stem} ended in something else:\n{run.stdout[-3000:]}"


@pytest.mark.parametrize("case", CASES)
def test_every_attack_case_has_a_twin(case):
    assert [fault for fault in FAULTS if fault.stem.startswith(case + "_")], f"no fault is planted for {case.upper()}"
