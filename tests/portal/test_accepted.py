"""The file of accepted boxes: what a relay takes from it, and what it never does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import nacl.signing
import pytest

from appliance.core.errors import Invalid, PraxisError, Refused, Tampered
from appliance.formats.device_record import DeviceRecord, sign_record
from provisioning.portal.accepted import FIRST_LINE, make_accepted, open_accepted, sign_accepted
from provisioning.portal.accepted_boxes import AcceptedBoxes
from provisioning.portal.known_boxes import Revoked
from tests.portal.simulated_box import PORTAL_NAME, STATION, SimulatedBox
from tests.portal.test_registry import STATIONS
from tests.portal.test_revocation import STRANGER, revocation

KEY = nacl.signing.SigningKey(b"r" * 32)
NOW = 1_900_000_000
DAY_S = 86_400


def file_of(
    *records: DeviceRecord,
    revoked: tuple[Revoked, ...] = (),
    key: nacl.signing.SigningKey = KEY,
    number: int = 0,
    made_at: int = NOW,
    portal_name: str = PORTAL_NAME,
) -> bytes:
    accepted = make_accepted(
        portal_name=portal_name,
        previous_number=number - 1,
        made_at=made_at,
        expires_at=made_at + DAY_S,
        records=records,
        revoked=revoked,
    )
    return sign_accepted(accepted, key)


class Relay:
    """A relay's boxes and the file it reads."""

    def __init__(self, folder: Path, key: nacl.signing.SigningKey = KEY) -> None:
        self.path = folder / "boxes.accepted"
        self.boxes = AcceptedBoxes(self.path, folder / "state", bytes(key.verify_key), PORTAL_NAME, STATIONS)

    def read(self, data: bytes, now: int = NOW) -> list[bytes]:
        """Put a file there and look; the file is another one each time, as after a move."""
        draft = self.path.with_suffix(".draft")
        draft.write_bytes(data)
        os.utime(draft, ns=(0, int.from_bytes(os.urandom(6), "big")))
        draft.replace(self.path)
        return self.boxes.refresh(now)


def test_a_relay_knows_the_boxes_of_the_file_and_still_after_a_restart_without_it(tmp_path: Path) -> None:
    box, relay = SimulatedBox(tmp_path), Relay(tmp_path)
    assert relay.boxes.device_point(box.box) is None
    assert relay.read(file_of(box.record())) == []
    relay.path.unlink()
    again = Relay(tmp_path)
    again.boxes.refresh(NOW)
    for each in (relay, again):
        assert each.boxes.box_of(box.host_name) == box.box
        assert each.boxes.device_point(box.box) == box.record().device_point
        assert (each.boxes.number, each.boxes.refused, each.boxes.unusable) == (NOW, 0, 0)


def test_a_box_that_left_the_file_is_named_to_be_hung_up_on_and_a_revoked_one_stays_out(tmp_path: Path) -> None:
    box, other, relay = SimulatedBox(tmp_path), SimulatedBox(tmp_path), Relay(tmp_path)
    relay.read(file_of(box.record(), other.record()))
    gone = Revoked(record=box.record(), revocation=revocation(box))
    assert relay.read(file_of(other.record(), revoked=(gone,), number=NOW + 1)) == [box.box]
    assert relay.boxes.device_point(box.box) is None
    assert relay.read(file_of(box.record(), other.record(), revoked=(gone,), number=NOW + 2)) == []
    assert relay.boxes.device_point(box.box) is None
    assert relay.boxes.unusable == 1
    assert relay.boxes.device_point(other.box) is not None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        pytest.param(lambda record: file_of(record, number=NOW + 4), "older", id="older number"),
        pytest.param(lambda record: file_of(record, number=NOW + 5), "same", id="same number, other bytes"),
        pytest.param(lambda record: file_of(record, number=NOW + 6, key=STRANGER), "key", id="another key"),
        pytest.param(
            lambda record: file_of(record, number=NOW + 6, portal_name="other.example"), "portal", id="other portal"
        ),
        pytest.param(
            lambda record: file_of(record, number=NOW + 6, made_at=NOW - 2 * DAY_S), "end", id="past its end"
        ),
        pytest.param(lambda record: file_of(record, number=NOW + 6)[:-1], "cut", id="cut short"),
        pytest.param(lambda _: b"", "empty", id="empty"),
        pytest.param(lambda _: FIRST_LINE + b"*\n{}", "text", id="no base64"),
    ],
)
def test_no_other_file_takes_the_place_of_the_last_good_one(
    tmp_path: Path, make: Callable[[DeviceRecord], bytes], why: str
) -> None:
    box, new, relay = SimulatedBox(tmp_path), SimulatedBox(tmp_path), Relay(tmp_path)
    relay.read(file_of(box.record(), number=NOW + 5))
    assert relay.read(make(new.record())) == [], why
    again = Relay(tmp_path)
    again.boxes.refresh(NOW)
    for each in (relay, again):
        assert each.boxes.device_point(box.box) is not None
        assert each.boxes.device_point(new.box) is None
        assert each.boxes.refused == 1


def test_the_registry_key_alone_makes_no_box(tmp_path: Path) -> None:
    """Nor does a second box with a key, a TPM or a name that another one has."""
    box, relay = SimulatedBox(tmp_path), Relay(tmp_path)
    forged, thief = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    changed = msgspec.structs.replace(forged.record(), host_name="praxis-other.localhost")
    stolen = thief.record(host_name=box.host_name)
    relay.read(file_of(box.record(), sign_record(forged.record(), STRANGER), changed, stolen))
    assert list(relay.boxes.records) == [box.box]
    assert relay.boxes.unusable == 3


def test_a_revocation_without_its_stations_signature_takes_nothing_out(tmp_path: Path) -> None:
    box, other, relay = SimulatedBox(tmp_path), SimulatedBox(tmp_path), Relay(tmp_path)
    false = (
        Revoked(record=box.record(), revocation=revocation(box, STRANGER)),
        Revoked(record=box.record(), revocation=revocation(other)),
    )
    relay.read(file_of(box.record(), revoked=false))
    assert relay.boxes.device_point(box.box) is not None


def test_past_the_files_end_no_box_logs_in_and_names_still_lead_to_their_box(tmp_path: Path) -> None:
    box, relay = SimulatedBox(tmp_path), Relay(tmp_path)
    relay.read(file_of(box.record()))
    assert relay.boxes.refresh(NOW + DAY_S) == []
    assert relay.boxes.expired
    assert relay.boxes.device_point(box.box) is None
    assert relay.boxes.box_of(box.host_name) == box.box
    relay.read(file_of(box.record(), made_at=NOW + DAY_S), NOW + DAY_S)
    assert relay.boxes.device_point(box.box) is not None


def test_another_registry_key_begins_its_numbers_anew(tmp_path: Path) -> None:
    box, relay = SimulatedBox(tmp_path), Relay(tmp_path)
    relay.read(file_of(box.record(), number=NOW + 1_000_000))
    rotated = Relay(tmp_path, STRANGER)
    assert rotated.boxes.device_point(box.box) is None
    rotated.read(file_of(box.record(), key=STRANGER))
    assert rotated.boxes.device_point(box.box) is not None


@pytest.mark.parametrize(
    ("data", "family"),
    [
        (b"another format\n", Invalid),
        (file_of(key=STRANGER), Tampered),
        (file_of(portal_name="other.example"), Refused),
        (sign_accepted(msgspec.convert({"portal_name": PORTAL_NAME}, dict), KEY), Invalid),  # type: ignore[arg-type]
    ],
    ids=["format", "key", "portal", "fields missing"],
)
def test_what_is_no_such_file_is_told_apart(data: bytes, family: type[PraxisError]) -> None:
    with pytest.raises(family):
        open_accepted(data, bytes(KEY.verify_key), PORTAL_NAME)


def test_a_number_grows_even_when_the_clock_goes_back() -> None:
    def number(previous: int) -> int:
        data = file_of(number=previous + 1)
        return open_accepted(data, bytes(KEY.verify_key), PORTAL_NAME).number

    assert number(0) == NOW
    assert number(NOW + 9) == NOW + 10


def test_the_station_signs_what_the_relay_checks(tmp_path: Path) -> None:
    """A twin: the same bytes under the listed station are a box."""
    forged, relay = SimulatedBox(tmp_path), Relay(tmp_path)
    relay.read(file_of(sign_record(forged.record(), STATION)))
    assert relay.boxes.unusable == 0
    assert relay.boxes.device_point(forged.box) is not None
