"""The device record: what a station signs, and everything a portal must not take."""

from __future__ import annotations

import json

import msgspec
import nacl.signing
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats import device_record

STATION = nacl.signing.SigningKey(b"s" * 32)
STATIONS = {bytes(STATION.verify_key)}
DEVICE = ec.derive_private_key(7, ec.SECP256R1()).public_key()
DEVICE_KEY = DEVICE.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
DEVICE_POINT = DEVICE.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signed(**changes: object) -> device_record.DeviceRecord:
    fields = {
        "box": b"b" * 16,
        "device_key": DEVICE_KEY,
        "endorsement": b"e" * 32,
        "host_name": "praxis-62626262.localhost",
        "portal_name": "praxis-portal.localhost",
        "issued_at": 1_800_000_000,
    }
    return device_record.sign_record(device_record.make_record(**(fields | changes)), STATION)  # type: ignore[arg-type]


def test_a_signed_record_comes_back_and_holds() -> None:
    record = device_record.decode_record(device_record.encode_record(signed()))
    device_record.check_record(record, STATIONS, "praxis-portal.localhost")
    assert record.box_bytes == b"b" * 16
    assert record.device_point == DEVICE_POINT


def test_the_signed_bytes_are_those_of_the_page() -> None:
    data = device_record.signed_bytes(signed())
    assert data[:27] == b"praxissafe device record 1\0"
    assert data[27:43] == b"b" * 16
    assert data[43:108] == DEVICE_POINT
    assert data[108:140] == b"e" * 32
    assert int.from_bytes(data[172:180], "big") == 1_800_000_000
    assert data[180] == 25
    assert data[181:] == b"praxis-62626262.localhost"


@pytest.mark.parametrize(
    "change",
    [
        {"box": "63" * 16},
        {"host_name": "other.localhost"},
        {"endorsement": "A" * 43},
        {"issued_at": 1_800_000_001},
        {"signature": "A" * 86},
    ],
)
def test_a_changed_field_breaks_the_signature(change: dict[str, object]) -> None:
    record = msgspec.structs.replace(signed(), **change)
    with pytest.raises(Tampered):
        device_record.check_record(record, STATIONS, "praxis-portal.localhost")


def test_an_unlisted_station_is_refused() -> None:
    with pytest.raises(Refused):
        device_record.check_record(signed(), set(), "praxis-portal.localhost")


def test_a_record_for_another_portal_is_refused() -> None:
    with pytest.raises(Refused):
        device_record.check_record(signed(), STATIONS, "other-portal.localhost")


@pytest.mark.parametrize(
    "change",
    [
        {"box": "B" * 32},
        {"box": "bb"},
        {"version": 2},
        {"device_key": "A" * 87},
        {"endorsement": "A" * 42},
        {"host_name": "Praxis.localhost"},
        {"host_name": "praxis.localhost."},
        {"host_name": "praxis-portal.localhost"},
        {"host_name": "a b"},
        {"host_name": ""},
        {"issued_at": -1},
        {"issued_at": "1"},
        {"extra": 1},
    ],
)
def test_a_malformed_field_is_invalid(change: dict[str, object]) -> None:
    data = json.dumps(json.loads(device_record.encode_record(signed())) | change).encode()
    with pytest.raises(Invalid):
        device_record.decode_record(data)


def test_an_unsigned_record_does_not_hold() -> None:
    record = msgspec.structs.replace(signed(), signature="", station_key="")
    with pytest.raises(Invalid):
        device_record.check_record(record, STATIONS, "praxis-portal.localhost")


@pytest.mark.parametrize("key", [b"", DEVICE_POINT, DEVICE_KEY[:-1] + b"x"])
def test_a_key_that_is_no_p256_key_is_invalid(key: bytes) -> None:
    with pytest.raises(Invalid):
        signed(device_key=key)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"{" * 5000])
def test_garbage_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid):
        device_record.decode_record(data)
