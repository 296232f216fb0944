"""yamux: many ordered byte streams inside one, each with its own window.

Purpose: the control connection between box and portal (docs/formats/tunnel.md) speaks hashicorp/yamux, an
existing wire format with independent implementations. `Session` is a state machine of values: bytes received go
in and give events, queued bytes come out of `bytes_to_send`. The byte offsets are in docs/formats/yamux.md.

Rules it keeps: a peer cannot make it hold more than `max_streams` streams, `max_unread_bytes` unread bytes,
`max_unsent_bytes` unsent bytes per stream or MAX_CONTROL_FRAMES unsent answers. Streams take turns in pieces of
PIECE_BYTES, so a large one cannot starve a small one. Bytes beyond the granted window end the session. A byte is
copied once on its way out (into what is sent) and once on its way in (out of what came), however many wait.
Caution with Go peers: hashicorp/yamux before 2020 stops reading at Close(), so half-close works one way only.

Source: github.com/hashicorp/yamux spec.md, and its session.go and stream.go for what spec.md leaves open.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from appliance.core.errors import Invalid, NotFound, Refused, Unavailable

HEADER = struct.Struct(">BBHII")  # version, type, flags, stream, length
VERSION = 0
INITIAL_WINDOW_BYTES = 256 * 1024
PIECE_BYTES = 16 * 1024
MAX_WINDOW = 0xFFFFFFFF
MAX_CONTROL_FRAMES = 1024
MAX_STREAM_ID = 0xFFFFFFFE
#: Pieces shorter than this are gathered while they wait, so that they cost no more memory than their bytes.
GATHERED_BYTES = 1024


class FrameType(IntEnum):
    """Byte 1 of a frame."""

    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


SYN, ACK, FIN, RST = 1, 2, 4, 8


class GoAway(IntEnum):
    """Why a side takes no more streams."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; it is already acknowledged."""

    stream: int


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream. Report them with `consumed` when they have left memory."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The peer sends no more on this stream; we still may."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The stream is gone in both directions, with whatever was unsent or unread."""

    stream: int


@dataclass(frozen=True, slots=True)
class Writable:
    """The peer granted more window, or unsent bytes left: `room` grew."""

    stream: int


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The peer answered our ping with this value."""

    value: int


@dataclass(frozen=True, slots=True)
class PeerGoesAway:
    """The peer takes no new streams; anything but NORMAL means it hangs up."""

    reason: int


Event = StreamOpened | DataReceived | StreamFinished | StreamReset | Writable | PongReceived | PeerGoesAway


class _Unsent:
    """Bytes that wait to be sent, as the pieces they came in."""

    __slots__ = ("_pieces", "_taken", "length")

    def __init__(self) -> None:
        self._pieces: deque[bytes | bytearray] = deque()
        self._taken = 0  # of the first piece
        self.length = 0

    def put(self, data: bytes) -> None:
        self.length += len(data)
        if len(data) >= GATHERED_BYTES:
            self._pieces.append(bytes(data))  # no copy, unless somebody could still change it
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray) and len(last) < PIECE_BYTES:
            last += data
        elif data:
            self._pieces.append(bytearray(data))

    def take(self, length: int, out: list[bytes | bytearray | memoryview]) -> None:
        """Move the first `length` bytes to `out`, which has to be joined before the next `put`."""
        self.length -= length
        while length:
            first = self._pieces[0]
            there = len(first) - self._taken
            if there > length:
                out.append(memoryview(first)[self._taken : self._taken + length])
                self._taken += length
                return
            out.append(memoryview(first)[self._taken :] if self._taken else first)
            self._pieces.popleft()
            self._taken = 0
            length -= there


@dataclass(slots=True)
class _Stream:
    send_window: int = INITIAL_WINDOW_BYTES
    receive_window: int = INITIAL_WINDOW_BYTES
    unsent: _Unsent | None = None  # most streams, most of the time
    unread: int = 0
    in_turn: bool = False
    finishing: bool = False  # we called finish; FIN leaves after the unsent bytes
    finished_here: bool = False
    finished_there: bool = False

    @property
    def unsent_bytes(self) -> int:
        return self.unsent.length if self.unsent is not None else 0


class Session:
    """One end of a yamux session; `role` decides who uses odd stream numbers (client) and who even ones.

    `window_bytes` is what the peer may send on each stream before it is consumed here: at least INITIAL_WINDOW_BYTES,
    more for large transfers over long links. The peer is told at the opening.
    """

    __slots__ = (
        "_broken",
        "_control",
        "_going_away",
        "_max_streams",
        "_max_unread_bytes",
        "_max_unsent_bytes",
        "_next_stream",
        "_payload_flags",
        "_payload_left",
        "_payload_stream",
        "_peer_gone_away",
        "_peer_parity",
        "_rest",
        "_streams",
        "_turns",
        "_unread_bytes",
        "_window_bytes",
    )

    def __init__(
        self,
        role: Literal["client", "server"],
        *,
        max_streams: int = 256,
        max_unread_bytes: int = 16 * 1024 * 1024,
        max_unsent_bytes: int = 256 * 1024,
        window_bytes: int = INITIAL_WINDOW_BYTES,
    ) -> None:
        self._next_stream = 1 if role == "client" else 2
        self._peer_parity = 0 if role == "client" else 1
        self._max_streams = max_streams
        self._max_unread_bytes = max_unread_bytes
        self._max_unsent_bytes = max_unsent_bytes
        self._window_bytes = max(window_bytes, INITIAL_WINDOW_BYTES)
        self._streams: dict[int, _Stream] = {}
        self._control: list[bytes] = []
        self._turns: deque[int] | None = None  # an idle session keeps none: it would be most of its memory
        self._rest = b""  # the beginning of a header
        self._payload_stream = 0
        self._payload_left = 0
        self._payload_flags = 0
        self._unread_bytes = 0
        self._going_away = False
        self._peer_gone_away = False
        self._broken = False

    # --- what the owner of the session does -----------------------------------------------------------

    def open_stream(self) -> int:
        """Open a stream and return its number. Raises Unavailable at the cap or after a go-away."""
        if self._peer_gone_away or self._broken or self._next_stream > MAX_STREAM_ID:
            raise Unavailable("yamux_closing")
        if len(self._streams) >= self._max_streams:
            raise Unavailable("yamux_streams")
        stream = self._next_stream
        self._next_stream += 2
        self._begin(stream, SYN)
        return stream

    def room(self, stream: int) -> int:
        """Say how many bytes `send` takes now; 0 for a stream that is gone or finished."""
        state = self._streams.get(stream)
        if state is None or state.finishing or state.finished_here:
            return 0
        return self._max_unsent_bytes - state.unsent_bytes

    def send(self, stream: int, data: bytes) -> None:
        """Queue bytes. Raises NotFound for an unknown stream, Refused after `finish`, Unavailable over `room`."""
        state = self._known(stream)
        if state.finishing or state.finished_here:
            raise Refused("yamux_finished")
        if len(data) > self._max_unsent_bytes - state.unsent_bytes:
            raise Unavailable("yamux_unsent")
        if state.unsent is None:
            state.unsent = _Unsent()
        state.unsent.put(data)
        self._take_turn(stream, state)

    def consumed(self, stream: int, length: int) -> None:
        """Say that `length` received bytes have left memory; grants window back in halves of it."""
        state = self._streams.get(stream)
        if state is None:
            return
        if length > state.unread:
            raise Refused("yamux_consumed")
        state.unread -= length
        self._unread_bytes -= length
        grant = self._window_bytes - state.unread - state.receive_window
        if grant >= self._window_bytes // 2 and not state.finished_there:
            state.receive_window += grant
            self._queue_control(FrameType.WINDOW_UPDATE, 0, stream, grant)
        self._drop_if_over(stream, state)

    def finish(self, stream: int) -> None:
        """Send no more on this stream; what is queued still leaves, then FIN."""
        state = self._known(stream)
        if not state.finishing and not state.finished_here:
            state.finishing = True
            self._take_turn(stream, state)

    def reset(self, stream: int) -> None:
        """Drop the stream at once in both directions; unknown streams are already gone."""
        state = self._streams.get(stream)
        if state is not None:
            self._drop(stream, state)
            self._queue_control(FrameType.WINDOW_UPDATE, RST, stream, 0)

    def ping(self, value: int) -> None:
        """Ask for an answer; it comes as PongReceived with the same value (u32)."""
        self._queue_control(FrameType.PING, SYN, 0, value)

    def go_away(self, reason: GoAway = GoAway.NORMAL) -> None:
        """Take no more streams from the peer; those open go on."""
        self._going_away = True
        self._queue_control(FrameType.GO_AWAY, 0, 0, reason)

    def bytes_to_send(self, max_bytes: int = 256 * 1024) -> bytes:
        """Take queued bytes: answers first, then one piece per stream in turn, up to about `max_bytes`."""
        out: list[bytes | bytearray | memoryview] = [*self._control]
        self._control.clear()
        length = HEADER.size * len(out)
        turns = self._turns
        while turns and length < max_bytes:
            length += self._send_piece(out, turns.popleft())
        if not turns:
            self._turns = None
        return b"".join(out)

    @property
    def stream_count(self) -> int:
        """Streams now held."""
        return len(self._streams)

    # --- what the peer does ---------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the peer.

        Raises Invalid when the peer breaks the protocol: send `bytes_to_send` once more (it holds the go-away),
        then hang up. Events before the broken frame are lost with the session.
        """
        if self._broken:
            raise Invalid("yamux_broken")
        events: list[Event] = []
        try:
            self._read(data, events)
        except Invalid:
            self._broken = True
            self._control.append(HEADER.pack(VERSION, FrameType.GO_AWAY, 0, 0, GoAway.PROTOCOL_ERROR))
            raise
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        position, end = 0, len(data)
        while position < end:
            if self._payload_left:
                piece = data[position : position + self._payload_left]
                position += len(piece)
                self._payload_left -= len(piece)
                self._read_payload(piece, events)
                if not self._payload_left:
                    self._read_endings(self._payload_stream, self._payload_flags, events)
                continue
            if end - position < HEADER.size:
                self._rest = data[position:]
                return
            version, kind, flags, stream, length = HEADER.unpack_from(data, position)
            position += HEADER.size
            if version != VERSION or kind > FrameType.GO_AWAY or flags > SYN | ACK | FIN | RST:
                raise Invalid("yamux_frame")
            self._read_frame(kind, flags, stream, length, events)

    def _read_frame(self, kind: int, flags: int, stream: int, length: int, events: list[Event]) -> None:
        if kind == FrameType.PING:
            if flags & SYN:
                self._queue_control(FrameType.PING, ACK, 0, length)
            else:
                events.append(PongReceived(length))
            return
        if kind == FrameType.GO_AWAY:
            self._peer_gone_away = True
            events.append(PeerGoesAway(length))
            return
        if flags & SYN:
            self._read_opening(stream, events)
        state = self._streams.get(stream)
        if kind == FrameType.DATA and length:
            if state is not None:
                if length > state.receive_window or state.finished_there:
                    raise Invalid("yamux_window")
                state.receive_window -= length
            self._payload_stream, self._payload_left, self._payload_flags = stream, length, flags
            return
        if kind == FrameType.WINDOW_UPDATE and state is not None and length:
            if state.send_window + length > MAX_WINDOW:
                raise Invalid("yamux_window")
            state.send_window += length
            self._take_turn(stream, state)
            events.append(Writable(stream))
        self._read_endings(stream, flags, events)

    def _read_opening(self, stream: int, events: list[Event]) -> None:
        if stream == 0 or stream % 2 != self._peer_parity or stream in self._streams:
            raise Invalid("yamux_stream")
        if self._going_away or len(self._streams) >= self._max_streams:
            self._queue_control(FrameType.WINDOW_UPDATE, RST, stream, 0)
            return
        self._begin(stream, ACK)
        events.append(StreamOpened(stream))

    def _read_payload(self, piece: bytes, events: list[Event]) -> None:
        state = self._streams.get(self._payload_stream)
        if state is None:
            return  # we reset it; the peer did not know yet
        state.unread += len(piece)
        self._unread_bytes += len(piece)
        events.append(DataReceived(self._payload_stream, piece))
        while self._unread_bytes > self._max_unread_bytes:
            slowest = max(self._streams, key=lambda stream: self._streams[stream].unread)
            self.reset(slowest)
            events.append(StreamReset(slowest))

    def _read_endings(self, stream: int, flags: int, events: list[Event]) -> None:
        state = self._streams.get(stream)
        if state is None:
            return
        if flags & RST:
            self._drop(stream, state)
            events.append(StreamReset(stream))
        elif flags & FIN:
            if state.finished_there:
                raise Invalid("yamux_finished")
            state.finished_there = True
            events.append(StreamFinished(stream))
            self._drop_if_over(stream, state)

    # --- bookkeeping ----------------------------------------------------------------------------------

    def _begin(self, stream: int, flag: int) -> None:
        self._streams[stream] = _Stream(receive_window=self._window_bytes)
        self._queue_control(FrameType.WINDOW_UPDATE, flag, stream, self._window_bytes - INITIAL_WINDOW_BYTES)

    def _known(self, stream: int) -> _Stream:
        state = self._streams.get(stream)
        if state is None:
            raise NotFound("yamux_stream")
        return state

    def _queue_control(self, kind: FrameType, flags: int, stream: int, length: int) -> None:
        if len(self._control) >= MAX_CONTROL_FRAMES:
            raise Invalid("yamux_flood")  # a peer that asks without reading the answers
        self._control.append(HEADER.pack(VERSION, kind, flags, stream, length))

    def _take_turn(self, stream: int, state: _Stream) -> None:
        unsent = state.unsent_bytes
        ready = (unsent and state.send_window) or (state.finishing and not unsent)
        if ready and not state.in_turn:
            state.in_turn = True
            if self._turns is None:
                self._turns = deque()
            self._turns.append(stream)

    def _send_piece(self, out: list[bytes | bytearray | memoryview], stream: int) -> int:
        """Put the stream's next piece into `out` and give its length with headers."""
        state = self._streams.get(stream)
        if state is None:
            return 0
        state.in_turn = False
        sent, unsent = 0, state.unsent
        if unsent is not None and (length := min(unsent.length, state.send_window, PIECE_BYTES)):
            out.append(HEADER.pack(VERSION, FrameType.DATA, 0, stream, length))
            unsent.take(length, out)
            state.send_window -= length
            sent = HEADER.size + length
            if not unsent.length:
                state.unsent = None
        if state.finishing and state.unsent is None:
            out.append(HEADER.pack(VERSION, FrameType.WINDOW_UPDATE, FIN, stream, 0))
            sent += HEADER.size
            state.finishing, state.finished_here = False, True
            self._drop_if_over(stream, state)
        else:
            self._take_turn(stream, state)
        return sent

    def _drop(self, stream: int, state: _Stream) -> None:
        self._unread_bytes -= state.unread
        del self._streams[stream]

    def _drop_if_over(self, stream: int, state: _Stream) -> None:
        if state.finished_here and state.finished_there and not state.unread and stream in self._streams:
            self._drop(stream, state)
