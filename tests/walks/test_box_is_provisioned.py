"""Walk 4: a technician provisions a box; afterwards the door is gone, and a portal that does not know a box refuses it."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.demo.places import REPOSITORY
from appliance.demo.processes import inside
from tests.simulators.demo_box import DemoBox, running_box


def test_enrolment_is_gone_after_provisioning(box: DemoBox):
    assert "enrol" not in box.pids
    port = box.port_base + 2
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
    assert (box.state / "box/vault/provisioned").exists()


def test_the_portal_knows_the_box_by_its_device_key_only(box: DemoBox):
    (record,) = (box.state / "world/portal/registry").glob("*.json")
    assert set(json.loads(record.read_text())) == {
        "version",
        "box",
        "device_key",
        "endorsement",
        "host_name",
        "portal_name",
        "issued_at",
        "station_key",
        "signature",
    }


def test_the_station_says_what_is_done_and_draws_the_sheet_of_this_box(box: DemoBox, tmp_path: Path):
    """With a copy of the demo's bench: what is printed there and handed over here stays the demo's own."""
    shutil.copytree(box.state / "station", tmp_path / "station")
    folder = f"--folder={tmp_path / 'station'}"
    (row,) = json.loads(station("status", folder, "--json"))
    done = [step["step"] for step in row["steps"] if step["state"] == "done"]
    assert done == ["reached", "keys", "sheet", "registered", "closed"]
    assert (row["box"], row["next"]) == (box.said["box"], "sheet")
    assert row["tpm"] == "swtpm"
    station("sheet", folder, row["serial"])
    files = tmp_path / "station" / row["serial"]
    paper = subprocess.run(
        ["pdftotext", files / "handover.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert box.said["claim_code"] in paper
    assert box.said["practice_url"] in paper
    assert "swtpm: echt, der Schlüssel liegt in ihm" in " ".join(paper.split())
    (record,) = (box.state / "world/portal/registry").glob("*.json")
    assert set(station("words", record).split()) <= set(paper.split())
    station("hand-over", folder, row["serial"])
    assert {path.name for path in files.iterdir()} == {"state.json", "lock"}


def station(*words: str | Path) -> str:
    """Run the technician's command; gives what it printed."""
    command = [sys.executable, "-m", "provisioning.station", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def test_an_unclaimed_box_prints_its_claim_code_and_a_second_start_finds_it_again():
    with running_box(empty=True) as first:
        assert first.claim_code
        assert not first.patient_link
        state, code, base = first.state, first.claim_code, first.said["box"]
        first.process.terminate()
        first.process.wait(60)
        with running_box(empty=True, state=state, port_base=first.port_base) as second:
            assert second.said["box"] == base
            assert second.claim_code == code


async def test_a_portal_that_does_not_know_the_box_refuses_it():
    """Take the record away while the box runs: the next log-in is refused, the patient's page is away."""
    with running_box(empty=True) as box:
        (record,) = (box.state / "world/portal/registry").glob("*.json")
        kept = record.read_bytes()
        record.unlink()
        command = inside(box.state)
        restart = await asyncio.create_subprocess_exec(*command, "systemctl", "restart", "demo-portal.service")
        assert await restart.wait() == 0
        tunnel = await ask_tunnel(command, until="refused")
        assert tunnel["state"] == "refused"
        record.write_bytes(kept)


async def ask_tunnel(command: list[str], until: str) -> dict[str, object]:
    """Ask the tunnel for its state until it is the one expected, at most 20 s."""
    call = ["/usr/lib/praxissafe/.venv/bin/python", "-m", "appliance.core.varlink", "call"]
    for _ in range(100):
        asked = await asyncio.create_subprocess_exec(
            *command,
            "sh",
            "-c",
            "cd /usr/lib/praxissafe && exec "
            + " ".join(call)
            + " /run/praxissafe/tunnel.sock de.praxissafe.Tunnel.ReadState",
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await asked.communicate()
        state = json.loads(said).get("parameters", {}) if said else {}
        if state.get("state") == until:
            return state
        await asyncio.sleep(0.2)
    return state
