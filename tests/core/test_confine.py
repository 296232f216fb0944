"""A passed socket is no way out: each way is walked by a child process (ways_out.py), free and confined."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.core.confine import LANDLOCK_ABI_TCP
from tests.core.ways_out import CANARY, IPPROTO_MPTCP, LOOPBACK, OPTIONS, OUT, libc

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("ways_out.py")
DENIED = {f"errno {errno.EPERM}\n", f"errno {errno.EACCES}\n"}  # seccomp's, Landlock's
#: Newer kernels (6.18, not 6.12) let no listener become a connection and no connection a listener, filters or not.
KEEPS_ITS_ROLE = f"errno {errno.EINVAL}\n"
LANDLOCK_ABI = max(int(libc.syscall(444, None, ctypes.c_size_t(0), 1)), 0)
BY_CONNECT = {"reconnect", "shut_down_and_reconnect", "connect_with_fast_open"}
MODES = pytest.mark.parametrize("mode", ["free", "confined"])

Passed = tuple[socket.socket, bool]
Attempt = Callable[..., "Child"]


@pytest.fixture(params=["connected", "listening", "listening_on_both_families", "received_later"])
def passed(request: pytest.FixtureRequest) -> Iterator[Passed]:
    """Give a socket as systemd or tunnel passes it; and whether to send it when the child's filters stand."""
    both = request.param == "listening_on_both_families"
    with socket.create_server(
        ("::" if both else LOOPBACK, 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
    ) as listener:
        if "listening" in request.param:
            yield listener, False
            return
        with socket.create_connection(listener.getsockname()):
            theirs, _ = listener.accept()
    with theirs:
        yield theirs, request.param == "received_later"


@pytest.fixture
def elsewhere() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        yield listener


@dataclass
class Child:
    """A child process at its act, and the socket it talks on."""

    talk: socket.socket

    def line(self) -> str:
        with self.talk.makefile("r") as said:
            return said.readline()

    def end(self) -> str:
        """Let it end, and give all that it said."""
        self.talk.shutdown(socket.SHUT_WR)
        with self.talk.makefile("r") as said:
            return said.read()


@pytest.fixture(scope="module")
def children() -> Iterator[socket.socket]:
    """Give the socket that starts child processes: their parent is single-threaded, and started once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, PROGRAM, str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()], env={"PYTHONPATH": str(ROOT)}):
        theirs.close()
        yield ours
        ours.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def attempt(children: socket.socket) -> Iterator[Attempt]:
    with contextlib.ExitStack() as stack:

        def start(act: str, mode: str, passed: Passed, port: int = 0) -> Child:
            sock, later = passed
            ours, theirs = map(stack.enter_context, socket.socketpair())
            ours.settimeout(20)
            if later:
                sender, carrier = map(stack.enter_context, socket.socketpair())
                socket.send_fds(sender, [b"\0"], [sock.fileno()])
                sock = carrier
            order = json.dumps([act, mode, port]).encode()
            socket.send_fds(children, [order], [theirs.fileno(), sock.fileno()])
            theirs.close()
            return Child(ours)

        yield start


def arrived(listener: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(5)
            return sock.recv(64) == CANARY
    return False


def listens(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


@MODES
@pytest.mark.parametrize("act", OUT)
def test_a_passed_socket_leads_out_free_and_nowhere_confined(
    attempt: Attempt, passed: Passed, elsewhere: socket.socket, act: str, mode: str
) -> None:
    if mode == "confined" and act in BY_CONNECT and LANDLOCK_ABI < LANDLOCK_ABI_TCP:
        pytest.skip("this kernel's Landlock knows no TCP: connect stays open, and the process says so")
    listened = listens(passed[0])
    said = attempt(act, mode, passed, elsewhere.getsockname()[1]).end()
    if mode == "confined":
        assert said in DENIED
    elif not (said == KEEPS_ITS_ROLE and listened and not act.startswith("make_a")):
        assert said == "done\n"
    assert arrived(elsewhere) == (said == "done\n")


@MODES
@pytest.mark.parametrize("act", ["listen", "bind_and_listen", "share_a_port"])
def test_a_passed_socket_opens_a_new_door_free_and_none_confined(
    attempt: Attempt, passed: Passed, act: str, mode: str
) -> None:
    listened = listens(passed[0])
    said = attempt(act, mode, passed).line()
    if mode == "confined":
        assert said in DENIED
    elif not (said == KEEPS_ITS_ROLE and not listened):
        socket.create_connection((LOOPBACK, int(said)), timeout=5).close()


@pytest.mark.parametrize("act", [*OPTIONS, "ask_interfaces", "io_uring"])
def test_a_confined_process_may_not(attempt: Attempt, elsewhere: socket.socket, act: str) -> None:
    assert attempt(act, "confined", (elsewhere, False)).end() == f"errno {errno.EPERM}\n"
    if act != "repair":  # needs a right besides
        assert attempt(act, "free", (elsewhere, False)).end() != f"errno {errno.EPERM}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own and packet(7) need root")
@pytest.mark.parametrize(("mode", "destinations"), [("free", ["127.6.6.6"]), ("confined", [LOOPBACK])])
def test_the_packets_of_a_connection_cannot_be_led_to_another_address(mode: str, destinations: list[str]) -> None:
    command = [sys.executable, PROGRAM, "watch_a_connection_led_astray", mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env={"PYTHONPATH": str(ROOT)})
    assert json.loads(done.stdout) == destinations, done.stderr


def test_a_confined_process_accepts_on_the_passed_listener(attempt: Attempt, elsewhere: socket.socket) -> None:
    child = attempt("accept_and_answer", "confined", (elsewhere, False))
    with socket.create_connection(elsewhere.getsockname(), timeout=20) as client:
        client.sendall(CANARY)
        assert client.recv(64) == CANARY
    assert child.end() == "done\n"


def test_a_confined_process_makes_local_calls(attempt: Attempt, elsewhere: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "peer.sock")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.bind(path)
        peer.listen()
        peer.settimeout(20)
        child = attempt("call_locally", "confined", (elsewhere, False))
        with socket.create_connection(elsewhere.getsockname(), timeout=20) as client:
            client.sendall(path.encode())
            with peer.accept()[0] as local:
                local.sendall(CANARY)
            assert client.recv(64) == CANARY
        assert child.end() == "done\n"


def test_the_report_is_what_the_kernel_has(attempt: Attempt, elsewhere: socket.socket) -> None:
    said = attempt("say_confinement", "free", (elsewhere, False)).end()
    assert said.splitlines()[0] == f"{LANDLOCK_ABI} {LANDLOCK_ABI >= LANDLOCK_ABI_TCP}"


@pytest.mark.parametrize(
    "kind",
    [
        (socket.AF_INET, socket.SOCK_DGRAM, 0),
        (socket.AF_INET6, socket.SOCK_DGRAM, 0),
        (socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP),  # Landlock does not see it
        (socket.AF_NETLINK, socket.SOCK_RAW, 0),
    ],
)
def test_a_passed_socket_that_could_not_be_held_is_refused(attempt: Attempt, kind: tuple[int, int, int]) -> None:
    with socket.socket(*kind) as sock:
        assert attempt("say_confinement", "free", (sock, False)).line() == "passed_socket\n"
