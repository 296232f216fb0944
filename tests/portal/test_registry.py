"""The register: what it takes, what it keeps, what it refuses, and what a disk cannot change."""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp
import msgspec
import nacl.signing
import pytest

from appliance.core.errors import PraxisError, Refused, Tampered
from appliance.formats.device_record import sign_record
from provisioning.portal.registry import Registry
from tests.portal.simulated_box import PORTAL_NAME, STATION, SimulatedBox, portal_in

STATIONS = frozenset({bytes(STATION.verify_key)})
STRANGER = nacl.signing.SigningKey(b"x" * 32)


def registry_in(folder: Path, stations: frozenset[bytes] = STATIONS) -> Registry:
    return Registry(folder / "registry", PORTAL_NAME, stations)


def test_a_record_is_kept_and_found_again_after_a_restart(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    assert registry_in(tmp_path).register(box.record())
    again = registry_in(tmp_path)
    assert again.box_of(box.host_name) == box.box
    assert again.device_point(box.box) == box.record().device_point
    assert not again.register(box.record())


def test_an_unknown_box_or_name_is_not_there(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    assert registry.device_point(bytes(16)) is None
    assert registry.box_of("praxis-00000000.localhost") is None


def test_a_device_key_belongs_to_one_box(tmp_path: Path) -> None:
    registry, box, clone = registry_in(tmp_path), SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    with pytest.raises(Refused) as refused:
        registry.register(clone.record(device_key=box.public_key_info))
    assert refused.value.code == "device_key_taken"


def test_a_tpm_belongs_to_one_box(tmp_path: Path) -> None:
    registry, box, clone = registry_in(tmp_path), SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    for again in (registry, registry_in(tmp_path)):
        with pytest.raises(Refused) as refused:
            again.register(clone.record(endorsement=box.endorsement))
        assert refused.value.code == "endorsement_taken"
        assert refused.value.details == {"other": box.box.hex()}


def test_a_box_stays_in_its_first_tpm(tmp_path: Path) -> None:
    registry, box = registry_in(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    with pytest.raises(Refused) as refused:
        registry.register(box.record(endorsement=bytes(32), issued_at=1_900_000_000))
    assert refused.value.code == "box_taken"


def test_a_host_name_belongs_to_one_box(tmp_path: Path) -> None:
    registry, box, other = registry_in(tmp_path), SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    with pytest.raises(Refused) as refused:
        registry.register(other.record(host_name=box.host_name))
    assert refused.value.code == "host_name_taken"
    assert registry.box_of(box.host_name) == box.box


def test_a_box_keeps_its_first_device_key(tmp_path: Path) -> None:
    registry, box, thief = registry_in(tmp_path), SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    with pytest.raises(Refused) as refused:
        registry.register(box.record(device_key=thief.public_key_info, issued_at=1_900_000_000))
    assert refused.value.code == "box_taken"


def test_a_later_record_moves_the_host_name_and_an_earlier_one_does_not(tmp_path: Path) -> None:
    registry, box = registry_in(tmp_path), SimulatedBox(tmp_path)
    registry.register(box.record())
    assert registry.register(box.record(host_name="new.example", issued_at=1_800_000_001))
    assert (registry.box_of("new.example"), registry.box_of(box.host_name)) == (box.box, None)
    with pytest.raises(Refused) as refused:
        registry.register(box.record())
    assert refused.value.code == "record_superseded"


def test_a_record_of_an_unlisted_station_is_refused(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    with pytest.raises(Refused):
        registry_in(tmp_path).register(sign_record(box.record(), STRANGER))


def test_a_record_with_a_wrong_signature_is_refused(tmp_path: Path) -> None:
    record = msgspec.structs.replace(SimulatedBox(tmp_path).record(), host_name="other.example")
    with pytest.raises(Tampered):
        registry_in(tmp_path).register(record)


def test_a_record_changed_on_disk_or_of_a_removed_station_counts_no_more(tmp_path: Path) -> None:
    registry = registry_in(tmp_path)
    changed, kept = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    registry.register(changed.record())
    registry.register(kept.record())
    path = tmp_path / "registry" / f"{changed.box.hex()}.json"
    path.write_bytes(path.read_bytes().replace(changed.host_name.encode(), b"stolen.localhost"))
    again = registry_in(tmp_path)
    assert (again.unusable, again.device_point(changed.box)) == (1, None)
    assert again.box_of(kept.host_name) == kept.box
    assert registry_in(tmp_path, frozenset()).unusable == 2


async def test_nothing_lists_the_boxes(tmp_path: Path) -> None:
    async with portal_in(tmp_path) as portal:
        context = ssl.create_default_context(cafile=str(portal.authority_path))
        async with aiohttp.ClientSession() as session:
            for path, status in {"/health": 200, "/": 404, "/devices": 405, "/proofs": 405, "/registry": 404}.items():
                url = f"https://127.0.0.1:{portal.port}{path}"
                async with session.get(url, ssl=context, server_hostname=PORTAL_NAME) as answer:
                    assert answer.status == status


def test_a_failure_of_the_disk_is_no_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, box = registry_in(tmp_path), SimulatedBox(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr("provisioning.portal.registry.replace_file", full)
    with pytest.raises((OSError, PraxisError)):
        registry.register(box.record())
    assert registry.device_point(box.box) is None
