"""Walk 4: a technician provisions a box; afterwards the door is gone, and a portal that does not know a box refuses it."""

import asyncio
import json
import socket

import pytest

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
        "host_name",
        "portal_name",
        "issued_at",
        "station_key",
        "signature",
    }


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
