"""yamux over a control connection: the one stream that carries control frames, and patients' streams where agreed."""

from __future__ import annotations

import asyncio
from collections import deque

from appliance.core.errors import Unavailable
from appliance.formats import tunnel_control as control
from appliance.formats.yamux import (
    PIECE_BYTES,
    DataReceived,
    GoAway,
    PeerGoesAway,
    Session,
    StreamFinished,
    StreamReset,
)
from appliance.tunnel.dial import MAX_MESSAGE_BYTES, ControlSocket
from appliance.tunnel.streams import MAX_UNREAD_BYTES, MAX_UNSENT_BYTES, PatientStreams

#: A message ends with the piece that exceeds this, and stays within MAX_MESSAGE_BYTES.
MESSAGE_BYTES = MAX_MESSAGE_BYTES - PIECE_BYTES - 1024


class Conversation:
    """Reads frames, queues frames, writes what is queued; hands patients' streams to `patients` if there is one.

    `goes_away` is set when the portal sends no more patients on this connection; those that are here go on.
    """

    def __init__(self, socket: ControlSocket, patients: PatientStreams | None = None) -> None:
        self._socket = socket
        self._patients = patients
        self._session = Session(
            "client",
            max_streams=1 + (patients.max_streams if patients else 0),
            max_unread_bytes=MAX_UNREAD_BYTES if patients else MAX_MESSAGE_BYTES,
            max_unsent_bytes=MAX_UNSENT_BYTES,
        )
        self._stream = self._session.open_stream()
        self._listener = control.Listener("portal over streams" if patients else "portal")
        self._frames: deque[control.Frame] = deque()
        self._ended = False
        self.goes_away = asyncio.Event()
        self._wake = asyncio.Event()
        self._wake.set()
        if patients is not None:
            patients.attach(self._session, self._wake.set)

    def say(self, frame: control.Frame) -> None:
        """Queue a frame. Raises Unavailable when the portal does not read."""
        self._session.send(self._stream, control.encode_frame(frame))
        self._wake.set()

    async def next_frame(self) -> control.Frame:
        """Give the next thing the portal says. Raises Unavailable("portal_lost") at the end."""
        while not self._frames:
            if self._ended:
                raise Unavailable("portal_lost")
            await self._read()
        return self._frames.popleft()

    async def write(self) -> None:
        """Send what is queued, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while data := self._session.bytes_to_send(MESSAGE_BYTES):
                await self._socket.send(data)
                if self._patients is not None:
                    self._patients.sent()

    async def _read(self) -> None:
        message = await self._socket.receive()
        if message is None:
            self._ended = True
            return
        for event in self._session.receive(message):
            match event:
                case DataReceived(self._stream, data):
                    self._frames.extend(self._listener.receive(data))
                    self._session.consumed(self._stream, len(data))
                case StreamFinished(self._stream) | StreamReset(self._stream):
                    self._ended = True
                case PeerGoesAway(reason):
                    self.goes_away.set()
                    self._ended = self._patients is None or reason != GoAway.NORMAL
                case _ if self._patients is not None:
                    self._patients.take(event)
        self._wake.set()
