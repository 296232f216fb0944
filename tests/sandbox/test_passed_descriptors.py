"""What systemd and tunnel pass to gateway, practice and enrol leads nowhere; without the filters, the same acts get out.

Confined: the unit's sandbox, and the process's own first step. Free: the same user in an empty network namespace, and
nothing else. Each act reaches for a listener of the test in this machine's network.
"""

from __future__ import annotations

import errno
import re
import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.core.confine import LANDLOCK_ABI_TCP
from tests.core.test_confine import BY_CONNECT, KEEPS_ITS_ROLE, LANDLOCK_ABI, arrived
from tests.core.ways_out import LOOPBACK, OPTIONS, OUT
from tests.sandbox.probes import FOLDER, PYTHON, Probe, Probes

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PROGRAM = [
    ("tests", None),
    ("tests.core", None),
    ("tests.core.ways_out", ROOT / "tests/core/ways_out.py"),
    ("main", HERE / "passed_descriptors.py"),
]
DOORS = ("listen", "bind_and_listen", "share_a_port")
CALLS = (*OPTIONS, "ask_interfaces", "io_uring")
ACTS = (*OUT, *DOORS, *CALLS)
#: A new socket belongs to the empty network namespace: it leads nowhere, free or not.
NEW_SOCKETS = {"make_a_socket", "make_an_mptcp_socket"}
#: Free, too, the kernel refuses these: a listener keeps the port it was bound to (so it cannot be bound again), and
#: the port of an accepted connection stays its listener's.
KEEPS_ITS_PORT = {
    ("listener", "bind_and_connect"),
    ("listener", "bind_and_listen"),
    ("listener", "share_a_port"),
    ("connection", "share_a_port"),
}
#: (process, the socket that is misused)
PASSED = (
    ("gateway", "connection"),
    ("practice", "connection"),
    ("practice", "listener"),
    ("enrol", "connection"),
    ("enrol", "listener"),
)
DENIED = {f"errno {errno.EPERM}", f"errno {errno.EACCES}"}  # seccomp's, Landlock's
TUNNEL, LOCAL_GROUP = 706, 720
FREE = "PrivateNetwork=yes\nWorkingDirectory=/usr/lib/praxissafe\nSupplementaryGroups=praxis-local"


@dataclass(frozen=True)
class Result:
    """What an act said, whether it reached the listener, and for a door, whether one came in by it."""

    said: str
    caller: str
    reached: bool
    entered: bool


Results = dict[tuple[str, str], Result]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in socks]


def write_socket(probes: Probes, name: str, shipped: str, addresses: list[str]) -> None:
    """Write the socket unit of a probe: the shipped one, listening elsewhere."""
    text = (ROOT / "systemd" / shipped).read_text(encoding="utf-8")
    text = re.sub(r"^(ListenStream|Service|ConditionPathExists|Description)=.*\n", "", text, flags=re.M)
    probes.write_unit(f"probe-{name}.socket", text + "".join(f"ListenStream={address}\n" for address in addresses))


def reached(elsewhere: dict[tuple[str, str], socket.socket], said: dict[str, Any]) -> Result:
    """Look what came of an act, at once: a child that opened a door keeps it open."""
    entered = False
    if said["said"].isdigit():
        socket.create_connection((LOOPBACK, int(said["said"])), timeout=5).close()
        entered = True
    came = arrived(elsewhere[said["victim"], said["act"]])
    return Result(said["said"], said["caller"], came, entered)


@contextmanager
def listeners_for(tries: list[tuple[str, str]]) -> Iterator[dict[tuple[str, str], socket.socket]]:
    with ExitStack() as stack:
        elsewhere = {one: stack.enter_context(socket.create_server((LOOPBACK, 0))) for one in tries}
        for sock in elsewhere.values():
            sock.setblocking(False)
        yield elsewhere


def hear_all(probe: Probe, elsewhere: dict[tuple[str, str], socket.socket]) -> Results:
    heard = {}
    for _ in elsewhere:
        said = probe.hear()
        heard[said["victim"], said["act"]] = reached(elsewhere, said)
    return heard


class Stage:
    """Where a process with passed sockets is taken over, in its sandbox or free."""

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._seen: dict[tuple[str, str], Results | None] = {}

    def results(self, process: str, mode: str) -> Results:
        """Play once for all tests, and not again where that failed."""
        if (process, mode) not in self._seen:
            self._seen[process, mode] = None
            play = self._gateway if process == "gateway" else self._on_the_lan
            self._seen[process, mode] = play(process, mode)
        results = self._seen[process, mode]
        assert results is not None, "failed before"
        return results

    def _write(self, process: str, mode: str, shipped: str, addresses: list[str]) -> str:
        name = f"{process}-passed-{mode}"
        sandbox = f"User=praxis-{process}\n{FREE}"
        if mode != "free":
            sandbox = self._probes.sandbox_of(f"praxis-{process}.service")
        self._probes.write_probe(name, sandbox)
        write_socket(self._probes, name, shipped, addresses)
        self._probes.reload()
        self._probes.run("systemctl", "start", f"probe-{name}.socket")
        return name

    @contextmanager
    def _play(self, name: str, mode: str) -> Iterator[Probe]:
        try:
            with self._probes.start(name, PROGRAM) as probe:
                assert probe.ask({"confined": mode == "confined"}) == "ready"
                yield probe
        finally:
            self._probes.run("systemctl", "stop", f"probe-{name}.socket", f"probe-{name}.service")

    def _on_the_lan(self, process: str, mode: str) -> Results:
        tries = [(victim, act) for victim in ("connection", "listener") for act in ACTS]
        ports = free_ports(len(tries))
        name = self._write(process, mode, f"praxis-{process}-lan.socket", [f"{LOOPBACK}:{port}" for port in ports])
        with listeners_for(tries) as elsewhere, ExitStack() as stack, self._play(name, mode) as probe:
            for port, (victim, act) in zip(ports, tries, strict=True):
                client = stack.enter_context(socket.create_connection((LOOPBACK, port)))
                client.sendall(f"{victim} {act} {elsewhere[victim, act].getsockname()[1]}\n".encode())
            return hear_all(probe, elsewhere)

    def _gateway(self, process: str, mode: str) -> Results:
        tries = [("connection", act) for act in ACTS]
        path = FOLDER / f"gateway-{mode}-local.sock"
        name = self._write(process, mode, "praxis-gateway.socket", [str(path)])
        with listeners_for(tries) as elsewhere, ExitStack() as stack, self._play(name, mode) as probe:
            passed = []
            for victim, act in tries:
                with socket.create_server((LOOPBACK, 0)) as portal:
                    patient = stack.enter_context(socket.create_connection(portal.getsockname()))
                    passed.append(stack.enter_context(portal.accept()[0]))
                patient.sendall(f"{victim} {act} {elsewhere[victim, act].getsockname()[1]}\n".encode())
            self._pass_as_tunnel(path, passed)
            for sock in passed:
                sock.close()
            return hear_all(probe, elsewhere)

    def _pass_as_tunnel(self, path: Path, passed: list[socket.socket]) -> None:
        numbers = [sock.fileno() for sock in passed]
        program = (HERE / "tunnel_passes.py").read_text(encoding="utf-8")
        as_tunnel = ["setpriv", f"--reuid={TUNNEL}", f"--regid={TUNNEL}", f"--groups={LOCAL_GROUP}", "--"]
        words = [*self._probes.enter, *as_tunnel, *PYTHON.split(), "-c", program, str(path), *map(str, numbers)]
        subprocess.run(words, pass_fds=numbers, check=True, timeout=60)


@pytest.fixture(scope="package")
def stage(probes: Probes) -> Stage:
    return Stage(probes)


each_passed = pytest.mark.parametrize(("process", "victim"), PASSED)


def tries(acts: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrise the controls: what the kernel does for a process that no filter holds."""
    return pytest.mark.parametrize(
        ("process", "victim", "act"),
        [
            (process, victim, act)
            for process, victim in PASSED
            for act in acts
            # tunnel passes gateway a connection that has no listener here
            if (victim, act) not in KEEPS_ITS_PORT or process == "gateway"
        ],
    )


@each_passed
@pytest.mark.parametrize("act", ACTS)
def test_a_passed_socket_leads_nowhere(stage: Stage, process: str, victim: str, act: str) -> None:
    if act in BY_CONNECT and LANDLOCK_ABI < LANDLOCK_ABI_TCP:
        pytest.skip("this kernel's Landlock knows no TCP: connect stays open, and the process says so")
    result = stage.results(process, "confined")[victim, act]
    assert result.said in DENIED | ({f"errno {errno.EAFNOSUPPORT}"} if act in NEW_SOCKETS else set())
    assert not result.reached
    assert not result.entered


@tries(act for act in OUT if act not in NEW_SOCKETS)
def test_without_the_filters_a_passed_socket_leads_out_of_an_empty_network(
    stage: Stage, process: str, victim: str, act: str
) -> None:
    result = stage.results(process, "free")[victim, act]
    if not (victim == "listener" and result.said == KEEPS_ITS_ROLE.strip()):
        assert result.said == "done"
    assert result.reached == (result.said == "done")


@tries(DOORS)
def test_without_the_filters_a_passed_socket_becomes_a_door(
    stage: Stage, process: str, victim: str, act: str
) -> None:
    result = stage.results(process, "free")[victim, act]
    assert result.entered or (victim == "connection" and result.said == KEEPS_ITS_ROLE.strip())


@tries(act for act in CALLS if act != "repair")  # needs a right besides
def test_without_the_filters_the_kernel_takes_the_call(stage: Stage, process: str, victim: str, act: str) -> None:
    assert stage.results(process, "free")[victim, act].said not in DENIED


def test_the_unit_alone_does_not_hold_a_passed_socket(stage: Stage) -> None:
    """Why the process confines itself: an empty network namespace and the unit's filter do not deny connect."""
    results = stage.results("gateway", "unconfined")
    assert results["connection", "reconnect"].reached
    assert results["connection", "sendto_with_fast_open"].reached
    assert {results["connection", act].said for act in (*DOORS, "io_uring")} == {f"errno {errno.EPERM}"}
    assert {results["connection", act].said for act in NEW_SOCKETS} == {f"errno {errno.EAFNOSUPPORT}"}


def test_gateway_takes_a_connection_from_tunnel(stage: Stage) -> None:
    assert {result.caller for result in stage.results("gateway", "confined").values()} == {"tunnel"}
