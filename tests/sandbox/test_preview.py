"""preview, which decodes what strangers made: what a document that has captured it could reach, and who may call it."""

from __future__ import annotations

import json
import socket

import pytest

from tests.architecture.test_units import RESIDENT
from tests.sandbox.conftest import Captured, Cast
from tests.sandbox.probes import Probes
from tests.simulators.demo_box import DemoBox

BOX = "/var/lib/praxissafe"
SOCKET = "/run/praxissafe/preview.sock"


@pytest.fixture
def preview(cast: Cast) -> Captured:
    return cast["preview"]


def test_preview_has_no_network(preview: Captured, free: Captured) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        free.does("dial", *address)
        assert preview.tries("dial", *address).failed == "EAFNOSUPPORT"
    for family in (socket.AF_INET, socket.AF_INET6, 16, 17):  # AF_NETLINK, AF_PACKET
        assert preview.tries("make_socket", family, socket.SOCK_RAW, 0).failed == "EAFNOSUPPORT"
    assert preview.does("find_sockets") == ["/run/systemd/journal/socket", "/run/systemd/notify"]


def test_preview_cannot_read_keys_or_documents(preview: Captured, free: Captured) -> None:
    files = [path for kind, path in free.does("walk", BOX) if kind == "f"]
    assert any(path.startswith(f"{BOX}/vault/") for path in files)
    assert any(path.startswith(f"{BOX}/records/sealed/") for path in files)
    assert not [said for said in free.try_all(*(("read_file", path) for path in files)) if said.failed]
    assert {said.failed for said in preview.try_all(*(("read_file", path) for path in files))} <= {"ENOENT", "EACCES"}
    assert preview.does("walk", "/var/lib") == []
    for path in ("/dev/tpmrm0", "/run/praxissafe-demo/tpm/tpm.sock"):
        assert preview.tries("read_file", path).failed == "ENOENT"


def test_preview_leaves_nothing_on_any_disk(preview: Captured) -> None:
    assert preview.does("find_writable_places") == ["/dev/mqueue"]  # takes no file's bytes
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        assert preview.tries("create_file", folder).failed in {"EROFS", "EACCES"}
    assert preview.tries("run_from_memory").failed == "EPERM"  # memfd_create(2)


@pytest.mark.parametrize("process", [process for process in RESIDENT if process != "records"])
def test_only_records_sees_the_socket_of_preview(cast: Cast, process: str) -> None:
    cast["records"].does("connect_local", SOCKET)
    assert cast[process].tries("connect_local", SOCKET).failed == "ENOENT"


def call_preview(probes: Probes, user: str) -> str:
    """Call as a user of the box who somehow reaches the socket; root's own look is not held by its mode."""
    message = json.dumps({"method": "de.praxissafe.Preview.MakePreview", "parameters": {"media_type": "image/heic"},
                          "upgrade": True})  # fmt: skip
    program = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        f"sock.connect({SOCKET!r})\n"
        f"sock.sendall({message.encode()!r} + bytes(1))\n"
        "print(sock.recv(4096))\n"
    )
    words = [
        "setpriv",
        f"--reuid={user}",
        "--regid=praxis-local",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        program,
    ]
    return probes.run(*words, check=False)


def test_preview_answers_records_alone(probes: Probes) -> None:
    for _ in range(50):
        answered = call_preview(probes, "praxis-records")
        if "ConnectionResetError" not in answered:  # the socket unit has four places: another test's last call ends
            break
    assert answered.startswith("b'{}")  # upgraded: send the document
    for user in ("praxis-practice", "praxis-gateway", "praxis-vault", "praxis-preview", "root"):
        assert "de.praxissafe.Refused" in call_preview(probes, user), user
    heard = call_preview(probes, "nobody")
    assert heard.strip() == "b''" or "ConnectionResetError" in heard  # hung up on


def test_a_process_of_preview_ends_with_its_call(box: DemoBox, probes: Probes) -> None:
    call_preview(probes, "praxis-records")
    for _ in range(1000):
        if "praxis-preview@" not in probes.run("systemctl", "list-units", "--all", "--plain", "--no-legend"):
            return
    raise AssertionError(probes.run("systemctl", "list-units", "praxis-preview@*"))


def test_preview_runs_as_a_user_of_its_own(preview: Captured) -> None:
    status = preview.does("say_status")
    assert set(status["Uid"].split()) == {"714"}
    assert status["Seccomp"] == "2"
