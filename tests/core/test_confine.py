"""A passed socket is no way out: each way is walked by a child process (ways_out.py), free and confined."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.core.confine import LANDLOCK_ABI_TCP
from tests.core.ways_out import CANARY, IPPROTO_MPTCP, LOOPBACK, OPTIONS, OUT, libc

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("ways_out.py")
DENIED = {f"errno {errno.EPERM}\n", f"errno {errno.EACCES}\n"}  # seccomp's, Landlock's
LANDLOCK_ABI = max(int(libc.syscall(444, None, ctypes.c_size_t(0), 1)), 0)
BY_CONNECT = {"reconnect", "shut_down_and_reconnect", "connect_with_fast_open"}
MODES = pytest.mark.parametrize("mode", ["free", "confined"])

Passed = tuple[socket.socket, bool]


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


@contextlib.contextmanager
def attempt(act: str, mode: str, passed: Passed, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    sock, later = passed
    with contextlib.ExitStack() as stack:
        if later:
            ours, theirs = map(stack.enter_context, socket.socketpair())
            ours.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))])
            sock = theirs
        yield stack.enter_context(
            subprocess.Popen(
                [sys.executable, PROGRAM, act, mode, str(sock.fileno()), str(port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[sock.fileno()],
                env={"PYTHONPATH": str(ROOT)},
            )
        )


def outcome(act: str, mode: str, passed: Passed, port: int = 0) -> str:
    with attempt(act, mode, passed, port) as child:
        said, _ = child.communicate(timeout=20)
        return said


def arrived(listener: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(5)
            return sock.recv(64) == CANARY
    return False


@MODES
@pytest.mark.parametrize("act", OUT)
def test_a_passed_socket_leads_out_free_and_nowhere_confined(
    passed: Passed, elsewhere: socket.socket, act: str, mode: str
) -> None:
    if mode == "confined" and act in BY_CONNECT and LANDLOCK_ABI < LANDLOCK_ABI_TCP:
        pytest.skip("this kernel's Landlock knows no TCP: connect stays open, and the process says so")
    said = outcome(act, mode, passed, elsewhere.getsockname()[1])
    if mode == "confined":
        assert said in DENIED
    else:
        assert said == "done\n"
    assert arrived(elsewhere) == (mode == "free")


@MODES
@pytest.mark.parametrize("act", ["listen", "bind_and_listen", "share_a_port"])
def test_a_passed_socket_opens_a_new_door_free_and_none_confined(passed: Passed, act: str, mode: str) -> None:
    with attempt(act, mode, passed) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        if mode == "confined":
            assert said in DENIED
        else:
            socket.create_connection((LOOPBACK, int(said)), timeout=5).close()


@pytest.mark.parametrize("act", [*OPTIONS, "ask_interfaces", "io_uring"])
def test_a_confined_process_may_not(elsewhere: socket.socket, act: str) -> None:
    assert outcome(act, "confined", (elsewhere, False)) == f"errno {errno.EPERM}\n"
    if act != "repair":  # needs a right besides
        assert outcome(act, "free", (elsewhere, False)) != f"errno {errno.EPERM}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own and packet(7) need root")
@pytest.mark.parametrize(("mode", "destinations"), [("free", ["127.6.6.6"]), ("confined", [LOOPBACK])])
def test_the_packets_of_a_connection_cannot_be_led_to_another_address(mode: str, destinations: list[str]) -> None:
    command = [sys.executable, PROGRAM, "watch_a_connection_led_astray", mode]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, env={"PYTHONPATH": str(ROOT)})
    assert json.loads(done.stdout) == destinations, done.stderr


def test_a_confined_process_accepts_on_the_passed_listener(elsewhere: socket.socket) -> None:
    with (
        attempt("accept_and_answer", "confined", (elsewhere, False)) as child,
        socket.create_connection(elsewhere.getsockname(), timeout=20) as client,
    ):
        client.sendall(CANARY)
        assert client.recv(64) == CANARY
        assert child.communicate(timeout=20)[0] == "done\n"


def test_a_confined_process_makes_local_calls(elsewhere: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "peer.sock")
    with socket.socket(socket.AF_UNIX) as peer, attempt("call_locally", "confined", (elsewhere, False)) as child:
        peer.bind(path)
        peer.listen()
        peer.settimeout(20)
        with socket.create_connection(elsewhere.getsockname(), timeout=20) as client:
            client.sendall(path.encode())
            with peer.accept()[0] as local:
                local.sendall(CANARY)
            assert client.recv(64) == CANARY
        assert child.communicate(timeout=20)[0] == "done\n"


def test_the_report_is_what_the_kernel_has(elsewhere: socket.socket) -> None:
    said = outcome("say_confinement", "free", (elsewhere, False))
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
def test_a_passed_socket_that_could_not_be_held_is_refused(kind: tuple[int, int, int]) -> None:
    with socket.socket(*kind) as sock:
        assert outcome("say_confinement", "free", (sock, False)).splitlines()[0] == "passed_socket"
