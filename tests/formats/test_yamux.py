"""yamux: the state machine against itself, against every split of the bytes, and against a hostile peer."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from appliance.formats import yamux
from appliance.formats.yamux import (
    DataReceived,
    Event,
    GoAway,
    PeerGoesAway,
    PongReceived,
    Session,
    StreamFinished,
    StreamOpened,
    StreamReset,
    Writable,
)


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + payload


def pair(**caps: int) -> tuple[Session, Session]:
    return Session("client", **caps), Session("server", **caps)


def carry(sender: Session, receiver: Session) -> list[Event]:
    events: list[Event] = []
    while data := sender.bytes_to_send():
        events += receiver.receive(data)
    return events


def read_all(events: list[Event], stream: int) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, DataReceived) and e.stream == stream)


def test_a_stream_carries_bytes_both_ways_and_half_closes() -> None:
    client, server = pair()
    stream = client.open_stream()
    client.send(stream, b"question")
    client.finish(stream)
    events = carry(client, server)
    assert events == [StreamOpened(1), DataReceived(1, b"question"), StreamFinished(1)]
    server.consumed(stream, 8)
    server.send(stream, b"answer")
    server.finish(stream)
    assert carry(server, client) == [DataReceived(1, b"answer"), StreamFinished(1)]
    client.consumed(stream, 6)
    assert (client.stream_count, server.stream_count) == (0, 0)


def test_each_side_has_its_own_stream_numbers() -> None:
    client, server = pair()
    assert [client.open_stream(), client.open_stream()] == [1, 3]
    assert [server.open_stream(), server.open_stream()] == [2, 4]


def test_the_wire_bytes_are_those_of_the_specification() -> None:
    client, _ = pair()
    stream = client.open_stream()
    client.send(stream, b"ab")
    client.finish(stream)
    expected = frame(1, yamux.SYN, 1, 0) + frame(0, 0, 1, 2, b"ab") + frame(1, yamux.FIN, 1, 0)
    assert client.bytes_to_send() == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.integers(1, 700))
def test_the_split_of_the_bytes_changes_nothing(lengths: list[int], split: int) -> None:
    client, server = pair()
    streams = [client.open_stream() for _ in range(3)]
    sent = dict.fromkeys(streams, b"")
    for number, length in enumerate(lengths):
        stream = streams[number % 3]
        piece = bytes([number % 251]) * length
        client.send(stream, piece)
        sent[stream] += piece
    wire = b"".join(iter(client.bytes_to_send, b""))
    events = [event for at in range(0, len(wire), split) for event in server.receive(wire[at : at + split])]
    assert {stream: read_all(events, stream) for stream in streams} == sent


def test_a_sender_stops_at_the_window_and_goes_on_when_bytes_are_consumed() -> None:
    client, server = pair(max_unsent_bytes=1024 * 1024)
    stream = client.open_stream()
    client.send(stream, bytes(300 * 1024))
    events = carry(client, server)
    assert len(read_all(events, stream)) == yamux.INITIAL_WINDOW_BYTES
    server.consumed(stream, yamux.INITIAL_WINDOW_BYTES)
    assert Writable(stream) in carry(server, client)
    assert len(read_all(carry(client, server), stream)) == 300 * 1024 - yamux.INITIAL_WINDOW_BYTES


def test_streams_take_turns_so_that_a_large_one_does_not_starve_a_small_one() -> None:
    client, server = pair()
    large, small = client.open_stream(), client.open_stream()
    client.send(large, bytes(200 * 1024))
    client.send(small, b"small")
    events = server.receive(client.bytes_to_send(max_bytes=3 * yamux.PIECE_BYTES))
    assert read_all(events, small) == b"small"
    assert len(read_all(events, large)) < 200 * 1024


def test_a_stalled_stream_does_not_block_another() -> None:
    client, server = pair(max_unsent_bytes=1024 * 1024)
    stalled, live = client.open_stream(), client.open_stream()
    client.send(stalled, bytes(1024 * 1024))
    carry(client, server)
    for _ in range(40):
        client.send(live, bytes(64 * 1024))
        arrived = read_all(carry(client, server), live)
        server.consumed(live, len(arrived))
        carry(server, client)
        assert len(arrived) == 64 * 1024


def test_a_peer_cannot_send_beyond_the_window() -> None:
    _, server = pair()
    server.receive(frame(1, yamux.SYN, 1, 0))
    with pytest.raises(Invalid):
        server.receive(frame(0, 0, 1, yamux.INITIAL_WINDOW_BYTES + 1))
    assert server.bytes_to_send().endswith(frame(3, 0, 0, GoAway.PROTOCOL_ERROR))
    with pytest.raises(Invalid):
        server.receive(b"")


def test_a_peer_cannot_hold_more_streams_than_the_cap() -> None:
    client, server = pair(max_streams=2)
    server.receive(frame(1, yamux.SYN, 1, 0) + frame(1, yamux.SYN, 3, 0))
    server.bytes_to_send()
    assert server.receive(frame(1, yamux.SYN, 5, 0)) == []
    assert server.bytes_to_send() == frame(1, yamux.RST, 5, 0)
    assert server.stream_count == 2
    client.open_stream(), client.open_stream()
    with pytest.raises(Unavailable):
        client.open_stream()


def test_unread_bytes_beyond_the_cap_cost_the_slowest_reader_its_stream() -> None:
    client, server = pair(max_unread_bytes=300 * 1024)
    slow, live = client.open_stream(), client.open_stream()
    client.send(slow, bytes(256 * 1024))
    client.send(live, bytes(100 * 1024))
    events = carry(client, server)
    assert StreamReset(slow) in events
    assert StreamReset(live) not in events
    assert carry(server, client)[-1] == StreamReset(slow)


def test_a_peer_that_asks_without_reading_answers_ends_the_session() -> None:
    _, server = pair()
    with pytest.raises(Invalid):
        server.receive(frame(2, yamux.SYN, 0, 7) * (yamux.MAX_CONTROL_FRAMES + 1))


def test_a_ping_is_answered_with_its_value() -> None:
    client, server = pair()
    client.ping(0xFFFFFFFF)
    assert carry(client, server) == []
    assert carry(server, client) == [PongReceived(0xFFFFFFFF)]


def test_after_a_go_away_no_stream_opens_and_the_open_ones_go_on() -> None:
    client, server = pair()
    stream = client.open_stream()
    carry(client, server)
    server.go_away()
    assert PeerGoesAway(0) in carry(server, client)
    with pytest.raises(Unavailable):
        client.open_stream()
    client.send(stream, b"still")
    assert read_all(carry(client, server), stream) == b"still"
    server.receive(frame(1, yamux.SYN, 3, 0))
    assert server.bytes_to_send() == frame(1, yamux.RST, 3, 0)


def test_bytes_for_a_stream_that_was_reset_are_dropped() -> None:
    client, server = pair()
    stream = client.open_stream()
    client.send(stream, b"late")
    wire = client.bytes_to_send()
    server.receive(wire[:12])
    server.reset(stream)
    assert server.receive(wire[12:]) == []
    assert carry(server, client) == [StreamReset(stream)]
    with pytest.raises(NotFound):
        client.send(stream, b"x")


@pytest.mark.parametrize(
    "bad",
    [
        b"\x01" + frame(2, 1, 0, 0)[1:],  # version
        frame(4, 0, 0, 0),  # type
        frame(1, 16, 1, 0),  # flag
        frame(1, yamux.SYN, 2, 0),  # a number of ours
        frame(1, yamux.SYN, 0, 0),  # the session's number
        frame(1, yamux.SYN, 1, 0) * 2,  # twice
        frame(1, yamux.SYN, 1, 0xFFFFFFFF),  # window overflow
        frame(1, yamux.SYN | yamux.FIN, 1, 0) + frame(1, yamux.FIN, 1, 0),  # finished twice
        frame(1, yamux.SYN | yamux.FIN, 1, 0) + frame(0, 0, 1, 1, b"x"),  # bytes after the end
    ],
)
def test_a_broken_frame_ends_the_session(bad: bytes) -> None:
    with pytest.raises(Invalid):
        Session("server").receive(bad)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_invalid_or_meaningless_but_never_a_crash(data: bytes) -> None:
    session = Session("server")
    with contextlib.suppress(Invalid):
        session.receive(data)
    assert session.stream_count <= 17


def test_sending_keeps_its_own_caps() -> None:
    client, _ = pair(max_unsent_bytes=10)
    stream = client.open_stream()
    assert client.room(stream) == 10
    with pytest.raises(Unavailable):
        client.send(stream, bytes(11))
    client.finish(stream)
    assert client.room(stream) == 0
    with pytest.raises(Refused):
        client.send(stream, b"x")
    with pytest.raises(Refused):
        client.consumed(stream, 1)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["open", "send", "move", "read", "finish", "reset"]),
        st.booleans(),
        st.integers(0, 4),
        st.integers(1, 80_000),
    ),
    max_size=120,
)


class Side:
    """A session, what was sent and has come on each stream, and what is not consumed yet."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sent: dict[int, bytearray] = {}
        self.came: dict[int, bytearray] = {}
        self.waiting: dict[int, int] = {}
        self.finished: set[int] = set()
        self.reset: set[int] = set()
        self.held = 0

    def hear(self, data: bytes) -> None:
        for event in self.session.receive(data):
            match event:
                case DataReceived(stream, piece):
                    self.came.setdefault(stream, bytearray()).extend(piece)
                    self.waiting[stream] = self.waiting.get(stream, 0) + len(piece)
                case StreamReset(stream):
                    self.reset.add(stream)
                    self.waiting.pop(stream, None)
                case StreamFinished(stream):
                    self.finished.add(stream)

    def read(self, stream: int, length: int) -> None:
        length = min(length, self.waiting.get(stream, 0))
        if length:
            self.waiting[stream] -= length
            self.session.consumed(stream, length)


@settings(max_examples=60, deadline=None)
@given(ACTIONS, st.sampled_from([256, 400, 1024]), st.integers(1, 300_000))
def test_under_any_schedule_each_byte_comes_once_in_order_and_within_the_caps(
    actions: list[tuple[str, bool, int, int]], window_kib: int, split: int
) -> None:
    caps = {"max_streams": 8, "max_unread_bytes": 1 << 20, "max_unsent_bytes": 200_000}
    sides = [Side(Session("client", **caps, window_bytes=window_kib * 1024)), Side(Session("server", **caps))]
    number = 0

    def move(sender: Side, receiver: Side, max_bytes: int) -> bool:
        wire = sender.session.bytes_to_send(max_bytes)
        for at in range(0, len(wire), split):
            receiver.hear(wire[at : at + split])
        assert receiver.session._unread_bytes <= caps["max_unread_bytes"]
        assert receiver.session._unread_bytes == sum(state.unread for state in receiver.session._streams.values())
        return bool(wire)

    for what, of_client, which, amount in actions:
        own, other = sides if of_client else reversed(sides)
        streams = sorted(own.session._streams)
        stream = streams[which % len(streams)] if streams else 0
        match what:
            case "open":
                with contextlib.suppress(Unavailable):
                    own.session.open_stream()
            case "send" if own.session.room(stream):
                number += 1
                piece = (number.to_bytes(4, "big") * (amount // 4 + 1))[: min(amount, own.session.room(stream))]
                own.session.send(stream, piece)
                own.sent.setdefault(stream, bytearray()).extend(piece)
            case "move":
                move(own, other, amount)
            case "read":
                own.read(stream, amount)
            case "finish" if stream:
                own.session.finish(stream)
            case "reset" if stream and which == 0:
                own.session.reset(stream)
                own.reset.add(stream)
                own.waiting.pop(stream, None)
    moving = True
    while moving:
        for side in sides:
            for stream in list(side.waiting):
                side.read(stream, 1 << 30)
        moving = move(sides[0], sides[1], 1 << 20) | move(sides[1], sides[0], 1 << 20)
    gone = sides[0].reset | sides[1].reset
    for own, other in (sides, sides[::-1]):
        for stream, sent in own.sent.items():
            came = bytes(other.came.get(stream, b""))
            assert bytes(sent).startswith(came)
            assert came == sent or stream in gone
        assert other.came.keys() <= own.sent.keys()


def test_a_larger_window_is_told_at_the_opening_and_holds_for_what_this_side_receives() -> None:
    client, server = Session("client", window_bytes=1 << 20), Session("server", max_unsent_bytes=1 << 21)
    stream = client.open_stream()
    wire = client.bytes_to_send()
    assert wire == frame(1, yamux.SYN, stream, (1 << 20) - yamux.INITIAL_WINDOW_BYTES)
    server.receive(wire)
    server.send(stream, bytes(1 << 21))
    assert len(read_all(carry(server, client), stream)) == 1 << 20
    client.consumed(stream, 1 << 19)
    assert client.bytes_to_send() == frame(1, 0, stream, 1 << 19)
    client.send(stream, bytes(256 * 1024))
    assert len(read_all(carry(client, server), stream)) == yamux.INITIAL_WINDOW_BYTES
    accepted = Session("server", window_bytes=1 << 20)
    accepted.receive(frame(1, yamux.SYN, 1, 0))
    assert accepted.bytes_to_send() == frame(1, yamux.ACK, 1, (1 << 20) - yamux.INITIAL_WINDOW_BYTES)


def test_many_small_pieces_wait_in_as_much_memory_as_their_bytes_take() -> None:
    client, server = pair()
    stream = client.open_stream()
    sent = bytes(number % 251 for number in range(100_000))
    for byte in sent:
        client.send(stream, bytes([byte]))
    unsent = client._streams[stream].unsent
    assert unsent is not None
    assert len(unsent._pieces) <= len(sent) // yamux.PIECE_BYTES + 1
    assert read_all(carry(client, server), stream) == sent


def test_a_piece_that_its_owner_changes_later_is_sent_as_it_was() -> None:
    client, server = pair()
    stream = client.open_stream()
    piece = bytearray(b"a" * 5000)
    client.send(stream, piece)
    piece[:] = b"b" * 5000
    assert read_all(carry(client, server), stream) == b"a" * 5000
