"""The processes that run in the box, looked at from outside: what the kernel says they are."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.sandbox.probes import Probes
from tests.simulators.demo_box import DemoBox

ROOT = Path(__file__).parents[2]
USERS = {"vault": 701, "records": 702, "audit": 703, "practice": 704, "gateway": 705, "tunnel": 706, "certificate": 707, "watch": 708,
         "backup": 710, "presence": 715}  # fmt: skip
DIAL = {"tunnel", "backup", "certificate", "watch"}
each_process = pytest.mark.parametrize("process", USERS)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@each_process
def test_a_process_runs_as_its_own_fixed_user(box: DemoBox, process: str) -> None:
    assert status(box.pid(process))["Uid"].split() == [str(USERS[process])] * 4


@each_process
def test_a_process_has_no_right_and_can_get_none(box: DemoBox, process: str) -> None:
    said = status(box.pid(process))
    assert {said[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert said["NoNewPrivs"] == "1"


@each_process
def test_a_process_runs_under_a_filter_of_system_calls(box: DemoBox, process: str) -> None:
    assert status(box.pid(process))["Seccomp"] == "2"


@each_process
def test_only_a_process_that_dials_is_in_the_machine_s_network(box: DemoBox, process: str) -> None:
    network = Path(f"/proc/{box.pid(process)}/ns/net").readlink()
    assert (network == Path("/proc/self/ns/net").readlink()) == (process in DIAL)


@each_process
def test_a_process_without_a_network_has_one_of_its_own_with_nothing_in_it(box: DemoBox, process: str) -> None:
    folder = Path(f"/proc/{box.pid(process)}/net")
    devices = {line.partition(":")[0].strip() for line in (folder / "dev").read_text().splitlines()[2:]}
    if process not in DIAL:
        assert devices == {"lo"}
        own = [Path(f"/proc/{box.pid(other)}/ns/net").readlink() for other in USERS if other != process]
        assert Path(f"/proc/{box.pid(process)}/ns/net").readlink() not in own
        routes = (folder / "route").read_text().splitlines()
        assert len(routes) <= 1  # the heading


def test_enrolment_is_gone_once_the_box_is_provisioned(box: DemoBox, probes: Probes) -> None:
    for unit in ("praxis-enrol.service", "praxis-enrol.socket", "praxis-enrol-lan.socket"):
        assert probes.run("systemctl", "is-active", unit, check=False).strip() == "inactive"
    assert not probes.here("/run/praxissafe/enrol.sock").exists()
    assert "enrol" not in box.pids


@pytest.mark.parametrize("process", ["gateway", "practice", "enrol"])
def test_a_process_with_passed_sockets_confines_itself_before_anything_else(process: str) -> None:
    tree = ast.parse((ROOT / f"appliance/{process}/__main__.py").read_text(encoding="utf-8"))
    last = tree.body[-1]
    assert isinstance(last, ast.If)
    assert ast.unparse(last.test) == "__name__ == '__main__'"
    assert ast.unparse(last.body[0]).startswith("confine_passed_sockets().say(")
    assert all(isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign
                          | ast.AnnAssign | ast.Expr | ast.ClassDef) for statement in tree.body[:-1])  # fmt: skip


@pytest.mark.parametrize("process", ["gateway", "practice"])
def test_a_running_process_says_that_it_is_confined(probes: Probes, process: str) -> None:
    unit = f"praxis-{process}.service"
    starts = probes.run("systemctl", "show", "--value", "--property=InvocationID", unit).strip()
    said = probes.run("journalctl", "--no-pager", "--output=cat", f"_SYSTEMD_INVOCATION_ID={starts}")
    assert "confined landlock_abi=" in said


def test_systemd_takes_every_unit_without_a_word(probes: Probes) -> None:
    folder = probes.here("/etc/systemd/system")
    kinds = (".service", ".socket", ".target", ".path")
    units = sorted(path.name for path in folder.iterdir() if path.suffix in kinds)
    assert len(units) > 15
    assert probes.run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *units) == ""
