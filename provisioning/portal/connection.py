"""One control connection as the portal holds it: a WebSocket, yamux on it, control frames on the first stream.

It is the transport's protocol from the upgrade on and costs no task and no timer: it acts when bytes arrive or may
leave. What the box says goes to a `Conversation` (control.py); a box that says anything else than
docs/formats/tunnel.md allows is hung up on. On STREAMS_PATH each patient is a stream beside the first.

Rules it keeps: one WebSocket message holds at most MAX_MESSAGE_BYTES; nothing is taken from yamux while the
transport has more than UNSENT_BYTES unsent, so that streams take turns here and not in the kernel, and no answer is
given to a WebSocket ping but to the last one. Whatever finds no place because the box reads no answers ends the box's
session, never the call that came upon it: that may be a patient's, or the drain's.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from appliance.core.errors import Invalid, PraxisError, Refused, Unavailable
from appliance.formats import tunnel_control as control
from appliance.formats.yamux import (
    DataReceived,
    Event,
    PeerGoesAway,
    Session,
    StreamFinished,
    StreamOpened,
    StreamReset,
    Writable,
)
from provisioning.portal.streams import StreamCarrier
from provisioning.portal.websocket import Opcode, Reader, encode_frame

#: What the portal takes from yamux at once; the last piece may lie over it, so a message stays under 64 KiB.
TURN_BYTES = 47 * 1024
MAX_MESSAGE_BYTES = 64 * 1024
#: A box on STREAMS_PATH sends patients' bytes and may do so in larger messages.
MAX_STREAMS_MESSAGE_BYTES = 1024 * 1024
UNSENT_BYTES = 64 * 1024


class Conversation(Protocol):
    """Who talks with the box."""

    def opened(self, connection: ControlConnection) -> None:
        """The control stream stands; nothing is said yet."""

    def heard(self, connection: ControlConnection, frame: control.Frame) -> None:
        """The box said this. PraxisError ends the connection."""

    def broken(self) -> None:
        """The box broke the protocol; `lost` follows."""

    def lost(self, connection: ControlConnection) -> None:
        """The connection is gone."""


class ControlConnection(asyncio.Protocol):
    """See the module."""

    __slots__ = (
        "_broken",
        "_busy",
        "_carriers",
        "_closing",
        "_conversation",
        "_leaving",
        "_listener",
        "_paused",
        "_pong",
        "_session",
        "_starved",
        "_stream",
        "_transport",
        "_websocket",
        "over_streams",
    )

    def __init__(self, transport: asyncio.Transport, conversation: Conversation, max_streams: int) -> None:
        """Take over an upgraded transport; `max_streams` patients at most, 0 on CONTROL_PATH."""
        self.over_streams = max_streams > 0
        self._transport = transport
        self._conversation = conversation
        self._websocket = Reader(MAX_STREAMS_MESSAGE_BYTES if self.over_streams else MAX_MESSAGE_BYTES)
        self._session = Session("server", max_streams=1 + max_streams, max_unsent_bytes=UNSENT_BYTES)
        self._listener = control.Listener("box")
        self._carriers: dict[int, StreamCarrier] | None = {} if self.over_streams else None
        self._starved: set[int] | None = set() if self.over_streams else None
        self._stream = 0
        self._paused = False
        self._pong: bytes | None = None
        self._busy = False
        self._broken = False
        self._leaving = False
        self._closing = False
        transport.set_write_buffer_limits(high=UNSENT_BYTES)
        transport.set_protocol(self)

    # --- what the portal does (login.ControlEnd, streams.StreamHost) ----------------------------------

    def say(self, frame: control.Frame) -> None:
        """Send a frame; a box that does not read is hung up on."""
        try:
            self._session.send(self._stream, control.encode_frame(frame))
        except PraxisError:  # Unavailable over the cap; NotFound, Refused when the box ended the stream
            self.hang_up()
            return
        self._flush()

    def hang_up(self) -> None:
        """End the connection at once, with all that passes through it."""
        self._transport.abort()

    def leave(self) -> None:
        """End the connection as soon as no patient passes through it; the box is told to dial elsewhere."""
        self._leaving = True
        if not self._carriers:
            self.close()
            return
        try:
            self._session.go_away()
        except Invalid:
            self._break_off()
        self._flush()

    def close(self) -> None:
        """Say what is queued, then end; nothing is heard any more."""
        self._closing = True
        self._flush()

    def open_stream(self) -> StreamCarrier:
        """Open a stream to the box. Raises Unavailable when there are too many."""
        carriers = self._patients()
        try:
            stream = self._session.open_stream()
        except Invalid:
            self._break_off()
            raise Unavailable("box_away") from None
        carriers[stream] = carrier = StreamCarrier(self, stream)
        return carrier

    def stream_room(self, stream: int) -> int:
        """See StreamHost; whoever finds none is told when there is some."""
        room = self._session.room(stream)
        if not room and self._starved is not None:
            self._starved.add(stream)
        return room

    def stream_send(self, stream: int, data: bytes) -> None:
        """See StreamHost."""
        self._session.send(stream, data)
        self._flush()

    def stream_consumed(self, stream: int, length: int) -> None:
        """See StreamHost."""
        try:
            self._session.consumed(stream, length)
        except Invalid:
            self._break_off()
        self._flush()

    def stream_finish(self, stream: int) -> None:
        """See StreamHost."""
        self._session.finish(stream)
        self._flush()

    def stream_closed(self, stream: int, *, reset: bool) -> None:
        """See StreamHost."""
        carriers = self._patients()
        if carriers.pop(stream, None) is None:
            return
        try:
            if reset:
                self._session.reset(stream)
        except Invalid:
            self._break_off()
        self._flush()
        if self._leaving and not carriers:
            self.close()

    # --- what the transport tells (asyncio.Protocol) --------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes of the box."""
        if self._closing or self._broken:
            return
        self._busy = True
        heard: set[StreamCarrier] = set()
        try:
            for opcode, piece in self._websocket.receive(data):
                if opcode is Opcode.BINARY:
                    for event in self._session.receive(piece):
                        self._take(event, heard)
                elif opcode is Opcode.PING:
                    self._pong = piece
                elif opcode is Opcode.CLOSE:
                    self.close()
        except PraxisError:
            self._break_off()
        for carrier in heard:
            carrier.settle()
        self._busy = False
        self._flush()

    def pause_writing(self) -> None:
        """Leave what is queued in yamux."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everyone who passes through."""
        self._paused = True
        for carrier in list((self._carriers or {}).values()):
            carrier.lost()
        self._conversation.lost(self)

    # --- inside ---------------------------------------------------------------------------------------

    def _break_off(self) -> None:
        """Hang up on a box that broke the protocol; it is counted once."""
        if not self._broken:
            self._broken = True
            self._conversation.broken()
            self.hang_up()

    def _take(self, event: Event, heard: set[StreamCarrier]) -> None:
        match event:
            case StreamOpened(stream):
                if self._stream:  # patients' streams are the portal's to open
                    raise Refused("tunnel_stream")
                self._stream = stream
                self._conversation.opened(self)
            case DataReceived(stream, data) if stream == self._stream:
                self._session.consumed(stream, len(data))
                for frame in self._listener.receive(data):
                    self._conversation.heard(self, frame)
            case StreamFinished(stream) | StreamReset(stream) if stream == self._stream:
                self.close()
            case PeerGoesAway():
                self.close()
            case DataReceived(stream) | StreamFinished(stream) | StreamReset(stream) | Writable(stream):
                self._take_of_patient(stream, event, heard)

    def _take_of_patient(self, stream: int, event: Event, heard: set[StreamCarrier]) -> None:
        carrier = self._patients().get(stream) if self._carriers is not None else None
        match event:
            case _ if carrier is None:  # closed here already, or the control stream has room again
                if isinstance(event, DataReceived):
                    self._session.consumed(stream, len(event.data))
            case DataReceived(_, data):
                carrier.received(data)
                heard.add(carrier)
            case StreamFinished():
                carrier.finished()
            case StreamReset():
                carrier.lost()
            case Writable():
                carrier.writable()

    def _patients(self) -> dict[int, StreamCarrier]:
        if self._carriers is None:
            raise RuntimeError  # nobody opens streams on CONTROL_PATH
        return self._carriers

    def _flush(self) -> None:
        """Give the transport what is queued, as long as it takes it; then wake who waited for room."""
        if self._busy:
            return
        self._busy = True
        try:
            if self._pong is not None and not self._paused:
                self._transport.write(encode_frame(Opcode.PONG, self._pong))
                self._pong = None
            while True:
                while not self._paused and (data := self._session.bytes_to_send(TURN_BYTES)):
                    self._transport.write(encode_frame(Opcode.BINARY, data))
                if not self._wake_starved():
                    break
        finally:
            self._busy = False
        if self._closing and not self._paused and not self._transport.is_closing():
            self._transport.write(encode_frame(Opcode.CLOSE, b""))
            self._transport.close()

    def _wake_starved(self) -> bool:
        """Wake the streams that have room again; True when there was one."""
        if not self._starved or self._carriers is None:
            return False
        woken = [stream for stream in self._starved if stream not in self._carriers or self._session.room(stream)]
        self._starved.difference_update(woken)
        for stream in woken:
            if stream in self._carriers:
                self._carriers[stream].writable()
        return bool(woken)
