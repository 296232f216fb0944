"""The control frames: one size, one meaning, and nothing out of turn."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Invalid
from appliance.formats import tunnel_control as control

EXAMPLES: list[control.Frame] = [
    control.Nonce(b"n" * 32),
    control.Prove(b"b" * 16, b"s" * 64),
    control.Accepted(),
    control.Refused(),
    control.Open(b"t" * 16),
    control.Ping(1),
    control.Pong((1 << 64) - 1),
    control.Checkpoint(7, 1_700_000_000, b"r" * 32, b"s" * 64),
]


@pytest.mark.parametrize("frame", EXAMPLES, ids=lambda frame: type(frame).__name__)
def test_every_frame_has_one_size_and_comes_back(frame: control.Frame) -> None:
    data = control.encode_frame(frame)
    assert len(data) == control.FRAME_BYTES
    assert control.decode_frame(data) == frame


@given(st.binary(min_size=control.FRAME_BYTES, max_size=control.FRAME_BYTES))
def test_what_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    data = bytes([data[0] % 10]) + data[1:]
    try:
        frame = control.decode_frame(data)
    except Invalid:
        return
    assert control.encode_frame(frame) == data


def test_bytes_in_the_unused_part_are_refused() -> None:
    with pytest.raises(Invalid):
        control.decode_frame(control.encode_frame(control.Accepted())[:-1] + b"x")


@pytest.mark.parametrize("kind", [0, 9, 255])
def test_an_unknown_type_is_refused(kind: int) -> None:
    with pytest.raises(Invalid):
        control.decode_frame(bytes([kind]).ljust(control.FRAME_BYTES, b"\0"))


def test_frames_arrive_however_the_bytes_are_split() -> None:
    said = [EXAMPLES[0], EXAMPLES[2], EXAMPLES[4], EXAMPLES[5]]
    wire = b"".join(map(control.encode_frame, said))
    listener = control.Listener("portal")
    assert [frame for byte in wire for frame in listener.receive(bytes([byte]))] == said


@pytest.mark.parametrize("frame", EXAMPLES[1:], ids=lambda frame: type(frame).__name__)
def test_the_portal_can_order_nothing_before_it_asked_and_accepted(frame: control.Frame) -> None:
    with pytest.raises(Invalid):
        control.Listener("portal").receive(control.encode_frame(frame))


@pytest.mark.parametrize("frame", [EXAMPLES[0], *EXAMPLES[2:]], ids=lambda frame: type(frame).__name__)
def test_a_box_says_nothing_before_its_proof(frame: control.Frame) -> None:
    with pytest.raises(Invalid):
        control.Listener("box").receive(control.encode_frame(frame))


@pytest.mark.parametrize("frame", [EXAMPLES[0], EXAMPLES[1], EXAMPLES[2], EXAMPLES[4]])
def test_a_proved_box_cannot_prove_again_or_give_orders(frame: control.Frame) -> None:
    listener = control.Listener("box")
    listener.receive(control.encode_frame(EXAMPLES[1]))
    with pytest.raises(Invalid):
        listener.receive(control.encode_frame(frame))


def test_after_a_refusal_nothing_may_follow() -> None:
    listener = control.Listener("portal")
    listener.receive(control.encode_frame(EXAMPLES[0]) + control.encode_frame(control.Refused()))
    with pytest.raises(Invalid):
        listener.receive(control.encode_frame(control.Accepted()))


def test_a_silent_peer_is_dead_after_two_missed_pings() -> None:
    health = control.Health(now=0.0)
    assert health.due(14.9) is None
    assert health.due(15.0) == control.Ping(1)
    assert health.due(30.0) == control.Ping(2)
    assert health.due(44.9) is None
    assert health.due(45.0) == "dead"


def test_an_answer_keeps_the_peer_alive() -> None:
    health = control.Health(now=0.0)
    for tick in range(1, 20):
        ping = health.due(tick * 15.0)
        assert isinstance(ping, control.Ping)
        health.heard(control.Pong(ping.value))


@pytest.mark.parametrize("value", [0, 2])
def test_an_answer_to_a_ping_never_sent_is_refused(value: int) -> None:
    health = control.Health(now=0.0)
    health.due(15.0)
    with pytest.raises(Invalid):
        health.heard(control.Pong(value))


def test_the_proof_covers_box_portal_nonce_and_certificate() -> None:
    proof = control.proof_bytes(b"b" * 16, "portal.example", b"n" * 32, b"c" * 32)
    name = hashlib.sha256(b"portal.example").digest()
    assert proof == b"praxissafe prove device 1\0" + b"b" * 16 + name + b"n" * 32 + b"c" * 32


@pytest.mark.parametrize("probe", [False, True])
def test_a_work_preface_is_a_prefix_and_the_token(probe) -> None:
    data = control.encode_work_preface(b"t" * 16, probe=probe)
    assert data == (b"PXP1" if probe else b"PXW1") + b"t" * 16
    assert control.decode_work_preface(data + b"more") == control.WorkPreface(b"t" * 16, probe)
    for short in range(len(data)):
        assert control.decode_work_preface(data[:short]) is None
    for bad in (b"PXW2", b"PXX", b"\x16", b"PXWP1" + b"t" * 16):
        with pytest.raises(Invalid):
            control.decode_work_preface(bad)


def test_a_portal_over_streams_orders_nothing() -> None:
    listener = control.Listener("portal over streams")
    asked = listener.receive(
        control.encode_frame(control.Nonce(b"n" * 32)) + control.encode_frame(control.Accepted())
    )
    assert len(asked) == 2
    with pytest.raises(Invalid):
        listener.receive(control.encode_frame(control.Open(b"t" * 16)))
