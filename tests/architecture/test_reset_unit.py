"""The one step of the box that runs as root: removes the data of a reset box, and can be cut short anywhere.

Its own commands are run here on a folder of the test, killed at the nth removal or left out from the nth on, and then
run from the beginning, as systemd does after a power cut.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.test_units import PROCESSES, RESET, UNITS, unit

BOX = "/var/lib/praxissafe"
BEGUN, CLEARED = "vault/reset-begun", "vault/reset-cleared"
#: Not on a folder of the test: the machine's journal, and users that exist in a box only (tests/walks/test_box_is_reset.py).
ELSEWHERE = ("/usr/bin/journalctl", "/usr/bin/systemd-tmpfiles")


def commands(box: Path) -> list[list[str]]:
    """Give the unit's commands, for these folders."""
    lines = [line.lstrip("-") for line in unit(RESET).values["ExecStart"]]
    words = [shlex.split(line.replace(BOX, str(box))) for line in lines]
    return [each for each in words if each[0] not in ELSEWHERE]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    box = tmp_path / "box"
    for name in ("vault/keys", "vault/.hidden", "records/spool/a/sealed", "records/sealed/b", "records/records.db",
                 "audit/log", "practice/lan.key", "gateway/page.pem", "lost+found/c", ".of root", BEGUN, CLEARED):  # fmt: skip
        (box / name).parent.mkdir(parents=True, exist_ok=True)
        (box / name).write_text(name)
    (box / "records/link").symlink_to(tmp_path)
    (tmp_path / "outside").write_text("stays")
    return box


def run_all(box: Path) -> None:
    for words in commands(box):
        subprocess.run(words, check=True)


def what_is_left(box: Path) -> set[str]:
    return {str(path.relative_to(box)) for path in box.rglob("*")}


def test_everything_goes_hidden_files_too_and_nothing_beside_it(box: Path):
    run_all(box)
    assert what_is_left(box) == {"vault"}
    assert (box.parent / "outside").read_text() == "stays"


def test_the_marks_go_last_and_the_one_that_starts_this_step_at_the_very_end(box: Path):
    for words in commands(box):
        before = what_is_left(box)
        assert CLEARED in before or words[0].endswith("sync")
        subprocess.run(words, check=True)
        if CLEARED not in what_is_left(box):
            assert what_is_left(box) == {"vault"}


def test_left_after_any_command_it_goes_on_to_the_end(box: Path):
    for count in range(len(commands(box))):
        copy = box.parent / f"box{count}"
        shutil.copytree(box, copy, symlinks=True)
        for words in commands(copy)[:count]:
            subprocess.run(words, check=True)
        assert (copy / CLEARED).exists() or what_is_left(copy) == {"vault"}
        run_all(copy)
        assert what_is_left(copy) == {"vault"}


@pytest.mark.parametrize("nth", range(1, 20, 3))
def test_killed_at_any_removal_it_goes_on_to_the_end(box: Path, nth: int):
    """By strace(1): the kernel kills it when it is about to remove the nth name."""
    before = what_is_left(box)
    inject = f"inject=unlinkat:signal=SIGKILL:when={nth}"
    remove = commands(box)[0]
    killed = subprocess.run(
        ["strace", "-qq", "-o", "/dev/null", "-e", inject, *remove], capture_output=True, check=False
    )
    assert killed.returncode == -9, killed
    assert {BEGUN, CLEARED} < what_is_left(box) < before or nth == 1
    run_all(box)
    assert what_is_left(box) == {"vault"}


def test_nothing_of_the_box_runs_meanwhile():
    stopped, waited = set(unit(RESET).words("Conflicts")), set(unit(RESET).words("After"))
    units = {path.name for path in UNITS.iterdir() if path.name.startswith("praxis-") and path.is_file()}
    one_document = {name for name in units if "@" in name}  # ends with records' question
    assert stopped == waited == units - one_document
    assert len(stopped) > 2 * len(PROCESSES)


def test_it_starts_by_the_second_mark_alone_and_the_box_begins_anew_after_it():
    path = unit("praxissafe-reset.path")
    assert unit(RESET).values["ConditionPathExists"] == [f"{BOX}/{CLEARED}"]
    assert path.value("PathExists") == f"{BOX}/{CLEARED}"
    assert path.value("Unit") == RESET
    assert unit(RESET).value("OnSuccess") == "praxis-box.target"
    assert "praxissafe-reset.path" in unit("praxis-box.target").words("Wants")


def test_it_is_narrow_although_it_is_root():
    own = unit(RESET)
    assert own.value("Type") == "oneshot"
    assert set(own.words("CapabilityBoundingSet")) == {
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_CHOWN",
    }
    assert own.value("ProtectSystem") == "strict"
    assert set(own.words("ReadWritePaths")) == {BOX, "-/var/log/journal"}
    assert own.value("PrivateNetwork") == own.value("PrivateDevices") == own.value("NoNewPrivileges") == "yes"
    assert "-EsB" not in "".join(own.values["ExecStart"])  # no interpreter
