"""One probe a process and one without a sandbox, running as long as this folder's tests; they leave the box as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.demo.processes import host_pids
from tests.architecture.test_units import service_name
from tests.sandbox.probes import Probe, Probes
from tests.simulators.demo_box import DemoBox

PROCESSES = ("vault", "records", "audit", "practice", "gateway", "tunnel", "backup", "certificate", "watch",
             "preview", "presence", "enrol")  # fmt: skip
FREE = "free"
ACTS = Path(__file__).with_name("forbidden_acts.py")
PROGRAM_THAT_SAYS_ITS_USER = "/usr/lib/probe-user"
STAND_IN_TPM = "/dev/tpmrm0"
STAND_IN_BUTTON = "/dev/input/praxissafe-button"


@dataclass(frozen=True)
class Outcome:
    """How an act went: what it got, or the name of the error."""

    did: Any = None
    failed: str = ""


class Captured:
    """A process in an attacker's hands: does any act, within its sandbox."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def try_all(self, *acts: tuple[Any, ...]) -> list[Outcome]:
        return [Outcome(**said) for said in self._probe.ask(acts)]

    def tries(self, *act: Any) -> Outcome:
        return self.try_all(act)[0]

    def does(self, *act: Any) -> Any:
        """Do an act that has to succeed."""
        outcome = self.tries(*act)
        assert not outcome.failed, (act, outcome)
        return outcome.did


@pytest.fixture(scope="package")
def probes(box: DemoBox) -> Iterator[Probes]:
    """The box's probes, written for every process, and for none: root, with no sandbox at all."""
    before = host_pids(box.state)
    probes = Probes(box.state)
    try:
        for process in PROCESSES:
            probes.write_probe(process, probes.sandbox_of(service_name(process)))
        probes.write_probe(FREE, "WorkingDirectory=/usr/lib/praxissafe")
        probes.reload()
        probes.run("install", "--mode=4755", "/usr/bin/id", PROGRAM_THAT_SAYS_ITS_USER)
        probes.run("mknod", "--mode=0666", STAND_IN_TPM, "c", "1", "3")  # null(4): there is no chip here to open
        probes.run("mkdir", "-p", "/dev/input")
        probes.run("mknod", "--mode=0666", STAND_IN_BUTTON, "c", "1", "3")
        yield probes
    finally:
        probes.run("rm", "-f", PROGRAM_THAT_SAYS_ITS_USER, STAND_IN_TPM, STAND_IN_BUTTON)
        probes.remove()
    assert host_pids(box.state) == before  # a probe that disturbs the box is a broken probe


class Cast(dict[str, Captured]):
    """Every captured process by its name, started when first asked for."""

    def __init__(self, probes: Probes, stack: ExitStack) -> None:
        super().__init__()
        self._probes, self._stack = probes, stack

    def __missing__(self, name: str) -> Captured:
        probe = self._stack.enter_context(self._probes.start(name, [("main", ACTS)]))
        self[name] = Captured(probe)
        return self[name]


@pytest.fixture(scope="package")
def cast(probes: Probes) -> Iterator[Cast]:
    with ExitStack() as stack:
        yield Cast(probes, stack)


@pytest.fixture(params=PROCESSES)
def process(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def captured(cast: Cast, process: str) -> Captured:
    return cast[process]


@pytest.fixture
def free(cast: Cast) -> Captured:
    """The control: what a probe can do where no sandbox holds it."""
    return cast[FREE]


@pytest.fixture
def pids(box: DemoBox) -> dict[str, int]:
    """The running processes by name, as the container numbers them (proc_pid_status(5), NSpid)."""
    numbers = {"init": 1}
    for name, pid in host_pids(box.state).items():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        numbers[name] = int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])
    return numbers
