"""A1, A12, A27: what people type and what the box draws is nowhere but where it has to be.

After a walk with a canary for each kind (canary_walk.py): a search in every place that a thief, an eavesdropper or a
curious operator could read. Each place has a control: something known to be there is found by the same reading, so
that a blind search fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from appliance.demo.places import Places
from appliance.demo.processes import host_pids, inside, leader
from appliance.formats.tunnel_control import WORK_PREFIX
from tests.attacks.canaries import Canaries, assert_nowhere, file_pieces
from tests.attacks.canary_walk import MAY_KNOW, Walk, walked
from tests.attacks.process_memory import connected_ports, memory_pieces, open_files
from tests.simulators.demo_box import DemoBox
from tests.simulators.patient import Patient, base64url

#: Where Chromium keeps the addresses it went to. A link is one: no page can undo that (docs/threats.md, at its end).
ADDRESS_BOOKS = (
    "/Default/History",
    "/Default/Favicons",
    "/Default/Top Sites",
    "/Default/Sessions/",
    "/segmentation_platform/ukm_db",
)
#: What the look into a process must see where it is not the box's host name.
CONTROLS = {
    "audit": b"de.praxissafe.Audit",
    "backup": b"de.praxissafe.Snapshots",
    "certificate": b"de.praxissafe.PageKey",
    "presence": b"de.praxissafe.Vault",
    "records": b"de.praxissafe.Records",
    "tunnel": b"praxis-portal.localhost",
    "watch": b"de.praxissafe.Watch",
}
PATIENCE_S = 60


@pytest.fixture(scope="module")
def walk(box: DemoBox) -> Iterator[Walk]:
    """Walks 1 and 2 with canaries: staff at the desk, a practice's software, a patient with Chromium; all have left."""
    with tempfile.TemporaryDirectory(prefix="praxissafe-homes-") as folder:
        yield asyncio.run(walked(box, Path(folder)))


# --- Memory ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def half_a_question(box: DemoBox, body: bytes) -> AsyncIterator[None]:
    """Hold a patient's connection on which half of POST /api/open has been sent."""
    context = ssl.create_default_context(cafile=str(box.portal_ca))
    host = box.said["page_host"]
    reader, writer = await asyncio.open_connection("127.0.0.1", box.port_base + 1, ssl=context, server_hostname=host)
    head = f"POST /api/open HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


async def until(what: Callable[[], bool]) -> None:
    """Wait until something is so; each test that waits fails after a time that no machine needs."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.1)


async def until_page_answers(box: DemoBox) -> None:
    async with Patient(box.patient_link, box.portal_ca) as holder, asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if (await holder.ask("GET", "/")).status == 200:
                    return
            await asyncio.sleep(0.2)


async def every_link_is_closed(box: DemoBox) -> None:
    """Wait until no patient is connected; a question answered after that shows that gateway has cleared up, too."""
    gateway = box.pid("gateway")
    await until(lambda: not connected_ports(gateway))
    await until_page_answers(box)


async def test_a_pin_is_in_gateway_s_memory_while_it_is_asked_for_and_not_after(box: DemoBox) -> None:
    """The control for the next test, and by itself what that one rests on: freed memory is overwritten."""
    question = Canaries()
    body = (
        b'{"proof":"'
        + base64url(secrets.token_bytes(32)).encode()
        + b'","pin":"'
        + question.plant_ascii("pin").encode()
    )
    gateway = box.pid("gateway")
    async with half_a_question(box, body):
        await until(lambda: question.found_in_pieces(memory_pieces(gateway)) == {"pin"})
    await every_link_is_closed(box)
    assert question.found_in_pieces(memory_pieces(gateway)) == set()


async def test_no_process_keeps_in_memory_what_is_not_its_business(walk: Walk) -> None:
    """No link is open. portal, tunnel, gateway and audit hold nothing at all; the others what MAY_KNOW says."""
    pids = host_pids(walk.box.state)
    await every_link_is_closed(walk.box)
    host = walk.box.said["page_host"].encode()
    found = {}
    for process, may_know in MAY_KNOW.items():
        pieces = list(memory_pieces(pids[process]))
        assert any(CONTROLS.get(process, host) in piece for piece in pieces), f"the look into {process} sees nothing"
        found[process] = walk.canaries.found_in_pieces(pieces, may_know)
    assert_nowhere({process: kinds for process, kinds in found.items() if kinds})
    assert set(MAY_KNOW) | {"tpm"} == set(pids)


async def test_the_hunt_sees_what_the_portal_has_in_memory(box: DemoBox) -> None:
    """The control: a name that half a ClientHello asks for is in the portal's memory."""
    asked = Canaries()
    there, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(
        there, out, server_hostname=f"{asked.plant_ascii('name')}.localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with socket.create_connection(("127.0.0.1", box.port_base + 1)) as raw:
        raw.sendall(out.read()[:-1])
        portal = box.pid("portal")
        # The C library writes server names in small letters, or not: either shows the same.
        await until(lambda: any(asked.mark.lower().encode() in piece.lower() for piece in memory_pieces(portal)))


# --- Traffic ---------------------------------------------------------------------------------------------------


def test_what_passes_on_the_wire_shows_whom_it_is_for_and_nothing_else(walk: Walk) -> None:
    """A12: both sides of the portal, and the practice's own network."""
    assert walk.wire.lost == 0
    practice, portal = walk.box.port_base, walk.box.port_base + 1
    arrived = {ports: bytes(stream) for ports, stream in walk.wire.streams.items() if portal in ports}
    from_box = [stream for (_, to), stream in arrived.items() if to == portal and stream.startswith(WORK_PREFIX)]
    from_patients = [
        stream for (_, to), stream in arrived.items() if to == portal and not stream.startswith(WORK_PREFIX)
    ]
    to_patients = [stream for (source, _), stream in arrived.items() if source == portal]
    uploads = [bytes(stream) for (_, to), stream in walk.wire.streams.items() if to == practice]
    assert any(walk.box.said["page_host"].encode() in stream for stream in from_patients), "whom a patient asks for"
    assert any(walk.box.said["lan_host"].encode() in stream for stream in uploads), "whom staff ask for"
    for side in (from_box, to_patients, uploads):
        assert any(len(stream) > 100_000 for stream in side), "a document passed here"
    walk.nowhere_in({"the wire": walk.wire.pieces})


# --- Journal, files, core files --------------------------------------------------------------------------------


def journal(box: DemoBox) -> bytes:
    """Give the box's whole journal with every field, binary ones too."""
    command = ["journalctl", f"--directory={box.state}/journal", "--output=export", "--all", "--no-pager"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def test_no_journal_holds_a_canary(walk: Walk) -> None:
    planted = Canaries()
    say = [*inside(walk.box.state), "systemd-cat", "--identifier=control", "echo", planted.plant("control")]
    subprocess.run(say, check=True)
    subprocess.run([*inside(walk.box.state), "journalctl", "--sync"], check=True)
    written = journal(walk.box)
    assert planted.found_in(written) == {"control"}
    for unit in ("praxis-gateway", "praxis-practice", "praxis-tunnel", "praxis-enrol", "demo-portal"):
        assert f"_SYSTEMD_UNIT={unit}.service".encode() in written, "who says something at every start"
    walk.nowhere_in({"the journal": iter([written])})


def folders(box: DemoBox) -> list[Path]:
    """Give every folder that anything of the box can write: its state, the container's disk and memory disks."""
    places = Places(box.state)
    nspawn = places.record.read_text().split(" ")[0]
    root = Path(f"/proc/{leader(box.state)}/root")
    return [
        *(box.state / name for name in ("box", "world", "journal", "station", "run")),
        Path(f"/proc/{nspawn}/root{places.run}/memory/upper"),
        *(root / name for name in ("run", "tmp", "dev/shm")),
    ]


def test_no_file_holds_a_canary_in_the_clear(walk: Walk) -> None:
    """Of the box, records' folder and the spool included, the portal, the bench; also files that lost their name."""
    planted = Canaries()
    controls = ["/tmp/control", "/var/tmp/control", "/run/control", "/dev/shm/control", "/var/lib/praxissafe/control"]
    script = 'for path; do printf %s "$CONTROL" > "$path"; done'
    shell = [
        *inside(walk.box.state),
        "env",
        f"CONTROL={planted.plant('control')}",
        "sh",
        "-c",
        script,
        "sh",
        *controls,
    ]
    subprocess.run(shell, check=True)
    seen, _ = planted.found_in_files(folders(walk.box))
    subprocess.run([*inside(walk.box.state), "rm", *controls], check=True)
    for control in controls:
        assert [path for path in seen if path.endswith(control.removeprefix("/var/lib/praxissafe"))], control

    found, read = walk.canaries.found_in_files(folders(walk.box))
    assert read > 100
    assert_nowhere(found)
    pids = host_pids(walk.box.state)
    files = {f"{process}: {name}": path for process, pid in pids.items() for name, path in open_files(pid)}
    assert [name for name in files if "records.db" in name]
    walk.nowhere_in({name: file_pieces(path) for name, path in files.items()})


def core_limits(pid: int) -> list[str]:
    [line] = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file" in line]
    return line.split()[4:6]


async def test_a_process_that_crashes_leaves_no_core_file(walk: Walk, tmp_path: Path) -> None:
    """gateway is made to crash while it has a PIN in its hands; the control is a process that may dump, and does."""
    box = walk.box
    for process, pid in host_pids(box.state).items():
        if process in MAY_KNOW.keys() - {"portal"}:
            assert core_limits(pid) == ["0", "0"], process
    question = Canaries()
    gateway = box.pid("gateway")
    async with half_a_question(box, b'{"pin":"' + question.plant_ascii("pin").encode()):
        await until(lambda: question.found_in_pieces(memory_pieces(gateway)) == {"pin"})
        os.kill(gateway, signal.SIGSEGV)
        await until(lambda: host_pids(box.state).get("gateway", gateway) != gateway)
    assert_nowhere(question.found_in_files(folders(box))[0])
    await until_page_answers(box)

    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not pattern.startswith(("|", "@", "/")):  # else something of this machine takes it, and may put it anywhere
        script = "ulimit -c unlimited; kill -SEGV $$"
        control = {"CONTROL": question.plant_ascii("control")}
        subprocess.run(["sh", "-c", script], cwd=tmp_path, env=control, check=False)
        assert list(question.found_in_files([tmp_path])[0].values()) == [{"control"}]


# --- The patient's browser -------------------------------------------------------------------------------------


def test_nothing_stays_of_a_private_window(walk: Walk) -> None:
    """Neither link, PIN, name nor document: not while it is on the screen, and not after."""
    (walk.homes["private"] / "control").write_text(walk.canaries.mark, encoding="utf-16-le")
    found = walk.canaries.found_in_files([walk.homes["private"]])[0] | walk.while_shown
    assert found.pop(f"{walk.homes['private']}/control") == {"mark"}
    assert_nowhere({path: kinds for path, kinds in found.items() if "/ordinary/" not in path})


def test_of_an_ordinary_window_the_browser_s_history_has_the_link_and_no_file_has_more(walk: Walk) -> None:
    """What is left is what the browser was given before the page: the address. It opens nothing without the PIN."""
    found, read = walk.canaries.found_in_files([walk.homes["ordinary"]])
    assert read > 50, "a profile is there"
    assert [path for path in found if path.endswith("/Default/History")], "the control: a link is found where it is"
    seen = [*found.items(), *((path, kinds) for path, kinds in walk.while_shown.items() if "/ordinary/" in path)]
    more = {path: kinds - {"link"} if any(part in path for part in ADDRESS_BOOKS) else kinds for path, kinds in seen}
    assert_nowhere({path: kinds for path, kinds in more.items() if kinds})
