"""A box that was taken back: at once, for good, and only by a station that is listed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import nacl.signing
import pytest

from appliance.core.errors import NotFound, PraxisError, Refused, Tampered
from appliance.formats import tunnel_control as control
from appliance.formats.revocation import Revocation, check_revocation, make_revocation
from provisioning.portal.registry import Registry
from tests.portal.simulated_box import PORTAL_NAME, STATION, SimulatedBox, control_client, portal_in
from tests.portal.test_registration import post
from tests.portal.test_registry import STATIONS, registry_in

STRANGER = nacl.signing.SigningKey(b"x" * 32)


def revocation(
    box: SimulatedBox, station: nacl.signing.SigningKey = STATION, portal: str = PORTAL_NAME
) -> Revocation:
    return make_revocation(box.box.hex(), portal, 1_900_000_000, station)


def test_a_revoked_box_and_its_key_never_come_back_and_its_tpm_and_name_may(tmp_path: Path) -> None:
    registry, box, anew = registry_in(tmp_path), SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    assert registry.revoke(revocation(box)) == box.box
    again = registry_in(tmp_path)
    for each in (registry, again):
        assert each.device_point(box.box) is None
        assert each.box_of(box.host_name) is None
        for record in (
            box.record(issued_at=1_900_000_001),
            anew.record(device_key=box.public_key_info),
            box.record(device_key=anew.public_key_info),
        ):
            with pytest.raises(Refused, match="revoked"):
                each.register(record)
        assert each.revoke(revocation(box)) == box.box  # said twice, done once
    assert again.unusable == 0
    assert again.register(anew.record(endorsement=box.endorsement, host_name=box.host_name))


def test_a_revocation_that_a_power_cut_left_half_done_holds(tmp_path: Path) -> None:
    """The record is still there, beside the revocation that was written first."""
    registry, box = registry_in(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    path = tmp_path / "registry" / f"{box.box.hex()}.json"
    kept = path.read_bytes()
    registry.revoke(revocation(box))
    path.write_bytes(kept)
    again = registry_in(tmp_path)
    assert again.device_point(box.box) is None


@pytest.mark.parametrize(
    ("facts", "failure"),
    [
        ({"station": STRANGER}, Refused("station")),
        ({"portal": "other.example"}, Refused("portal")),
    ],
)
def test_a_revocation_of_a_stranger_or_for_another_portal_is_refused(
    tmp_path: Path, facts: dict[str, object], failure: PraxisError
) -> None:
    registry, box = registry_in(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    with pytest.raises(type(failure), match=failure.code):
        registry.revoke(revocation(box, **facts))  # type: ignore[arg-type]
    assert registry.device_point(box.box) is not None


@pytest.mark.parametrize("change", [{"box": "cd" * 16}, {"revoked_at": 1}, {"signature": bytes(64)}])
def test_a_changed_field_breaks_the_signature(tmp_path: Path, change: dict[str, object]) -> None:
    changed = msgspec.structs.replace(revocation(SimulatedBox(tmp_path)), **change)
    with pytest.raises(Tampered, match="revocation"):
        check_revocation(changed, STATIONS, PORTAL_NAME)


def test_a_box_that_is_not_there_cannot_be_revoked(tmp_path: Path) -> None:
    registry: Registry = registry_in(tmp_path)
    with pytest.raises(NotFound, match="box_unknown"):
        registry.revoke(revocation(SimulatedBox(tmp_path)))


async def test_a_revoked_box_is_hung_up_on_at_once_and_not_let_in_again(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            assert await box.log_in(client) == control.Accepted()

            async def send(body: Revocation) -> tuple[int, object]:
                data = msgspec.json.encode(body)
                return await post(portal.port, portal.authority_path, "/revocations", data)

            assert await send(revocation(box, STRANGER)) == (403, {"error": "station"})
            assert await send(revocation(SimulatedBox(tmp_path))) == (404, {"error": "box_unknown"})
            assert await send(revocation(box)) == (200, {"revoked": True})
            while await client.hear() is not None:
                pass
        async with control_client(portal.port, portal.authority_path) as client:
            assert await box.log_in(client) == control.Refused()
        assert portal.counts.devices_revoked == 1
