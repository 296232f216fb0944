"""Patients inside the control connection: each yamux stream is pumped to one end of a socket pair that gateway has.

Rules it keeps: bytes are reported as consumed when they have left for gateway, and read from gateway's end only when
the stream has room, so memory is bounded by windows and a stalled patient stops nobody else. A stream that the portal
opens before it accepted this box ends the session; one over the limit is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

from appliance.core.errors import Invalid, NotFound, PraxisError, Unavailable
from appliance.core.varlink import PeerGone
from appliance.formats.waiting_bytes import WaitingBytes
from appliance.formats.yamux import (
    DataReceived,
    Event,
    Session,
    StreamFinished,
    StreamOpened,
    StreamReset,
    Writable,
)
from appliance.tunnel.slots import Slots
from appliance.tunnel.status import Status, connections

READ_BYTES = 64 * 1024
#: Pieces of yamux that gateway is given in one call.
PIECES_AT_ONCE = 16
#: Nothing is read from gateway before so much of it can be queued.
READ_AT_LEAST_BYTES = 16 * 1024
MAX_UNSENT_BYTES = 64 * 1024
#: Over all streams; then the one with most is reset (formats/yamux.py).
MAX_UNREAD_BYTES = 16 * 1024 * 1024
SWEEPS_PER_STALL = 4

HandOver = Callable[[socket.socket], Awaitable[None]]


class _Patient:
    """One stream and this process's end of its socket pair."""

    def __init__(self, stream: int, sock: socket.socket) -> None:
        self.stream = stream
        self.sock = sock
        self.incoming = WaitingBytes()
        self.no_more_in = False
        self.no_more_out = False
        self.writing = False
        self.paused = True
        self.moved_at = 0.0


class PatientStreams:
    """The patients' streams of one control connection; `hand_over` gives gateway its end of a pair."""

    def __init__(
        self, hand_over: HandOver, slots: Slots, status: Status, *, max_streams: int, stall_s: float
    ) -> None:
        self.max_streams = max_streams
        self._hand_over = hand_over
        self._slots = slots
        self._status = status
        self._stall_s = stall_s
        self._patients: dict[int, _Patient] = {}
        self._paused: set[_Patient] = set()
        self._group: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        #: Why the session cannot go on, where that was found by nobody who could say so.
        self._failure: asyncio.Future[None] | None = None

    def attach(self, session: Session, wake: Callable[[], None]) -> None:
        """Say which session the streams are in, and what to call when something is queued there."""
        self._session = session
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._failure = self._loop.create_future()

    async def until_idle(self) -> None:
        """Wait until no patient is there."""
        await self._idle.wait()

    async def run(self) -> None:
        """Take patients until cancelled, and end those in which no byte moves; ends them all."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                while True:
                    await self._until_next_sweep()
                    too_old = self._loop.time() - self._stall_s
                    for patient in [one for one in self._patients.values() if one.moved_at < too_old]:
                        self._reset(patient)
        finally:
            for patient in list(self._patients.values()):
                self._close(patient)

    async def _until_next_sweep(self) -> None:
        """Wait until it is time to look for stalled patients; raises what ended the session meanwhile."""
        if self._failure is None:
            raise AssertionError  # attach comes first
        await asyncio.wait((self._failure,), timeout=self._stall_s / SWEEPS_PER_STALL)
        if self._failure.done():
            self._failure.result()

    def _from_loop(self, act: Callable[[_Patient], None], patient: _Patient) -> None:
        """Do what the loop calls for; a portal that reads no answers ends its session, never this process."""
        try:
            act(patient)
        except Invalid as error:
            if self._failure is not None and not self._failure.done():
                self._failure.set_exception(error)
            self._close(patient)

    def take(self, event: Event) -> None:
        """Take what the session says of a patient's stream. Invalid when the portal opens one too early."""
        if isinstance(event, StreamOpened):
            self._open(event.stream)
            return
        patient = self._patients.get(getattr(event, "stream", 0))
        if patient is None:
            return
        match event:
            case DataReceived(_, data):
                patient.incoming.append(data)
                if not patient.writing:
                    self._pass_in(patient)
            case StreamFinished():
                patient.no_more_in = True
                if not patient.incoming:
                    self._finish_in(patient)
            case StreamReset():
                self._close(patient)
            case Writable():
                self._resume(patient)

    def sent(self) -> None:
        """Read on where the stream has room again."""
        for patient in list(self._paused):
            self._resume(patient)

    def _open(self, stream: int) -> None:
        if self._group is None:
            raise Invalid("tunnel_turn")
        if not self._slots.take():
            connections.add("over_limit")
            self._session.reset(stream)
            return
        ours, gateways = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        patient = self._patients[stream] = _Patient(stream, ours)
        patient.moved_at = self._loop.time()
        self._paused.add(patient)
        self._idle.clear()
        self._status.count_stream(1)
        self._group.create_task(self._give(patient, gateways))

    async def _give(self, patient: _Patient, gateways: socket.socket) -> None:
        """Hand one end over; PeerGone is the only failure that leaves."""
        outcome = "passed"
        try:
            with contextlib.closing(gateways):
                await self._hand_over(gateways)
        except PeerGone:
            raise
        except PraxisError as error:
            outcome = "gateway_full" if isinstance(error, Unavailable) and error.code == "full" else "failed"
        connections.add(outcome)
        if outcome != "passed":
            self._reset(patient)
        elif self._patients.get(patient.stream) is patient:
            self._resume(patient)

    # --- portal to gateway ------------------------------------------------------------------------------

    def _pass_in(self, patient: _Patient) -> None:
        """Write what came for gateway; what does not fit waits, and its window is not granted anew."""
        try:
            while patient.incoming:
                written = patient.sock.sendmsg(patient.incoming.first(PIECES_AT_ONCE))
                patient.moved_at = self._loop.time()
                patient.incoming.drop(written)
                self._session.consumed(patient.stream, written)
        except BlockingIOError:
            if not patient.writing:
                patient.writing = True
                self._loop.add_writer(patient.sock, self._from_loop, self._pass_in, patient)
            self._wake()
            return
        except OSError:
            self._reset(patient)
            return
        if patient.writing:
            patient.writing = False
            self._loop.remove_writer(patient.sock)
        if patient.no_more_in:
            self._finish_in(patient)
        self._wake()

    def _finish_in(self, patient: _Patient) -> None:
        with contextlib.suppress(OSError):
            patient.sock.shutdown(socket.SHUT_WR)
        self._close_if_over(patient)

    # --- gateway to portal ------------------------------------------------------------------------------

    def _pass_out(self, patient: _Patient) -> None:
        room = self._session.room(patient.stream)
        if room < READ_AT_LEAST_BYTES:
            self._pause(patient)
            return
        try:
            data = patient.sock.recv(min(room, READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            self._reset(patient)
            return
        patient.moved_at = self._loop.time()
        try:
            if data:
                self._session.send(patient.stream, data)
            else:
                self._pause(patient)
                patient.no_more_out = True
                self._session.finish(patient.stream)
                self._close_if_over(patient)
        except NotFound:
            self._close(patient)
        self._wake()

    def _pause(self, patient: _Patient) -> None:
        if not patient.paused:
            patient.paused = True
            self._paused.add(patient)
            self._loop.remove_reader(patient.sock)

    def _resume(self, patient: _Patient) -> None:
        if patient.paused and not patient.no_more_out and self._session.room(patient.stream) >= READ_AT_LEAST_BYTES:
            patient.paused = False
            self._paused.discard(patient)
            self._loop.add_reader(patient.sock, self._from_loop, self._pass_out, patient)

    # --- the end ----------------------------------------------------------------------------------------

    def _close_if_over(self, patient: _Patient) -> None:
        if patient.no_more_out and patient.no_more_in and not patient.incoming:
            self._close(patient)

    def _reset(self, patient: _Patient) -> None:
        if self._patients.get(patient.stream) is patient:
            self._close(patient)
            self._session.reset(patient.stream)
            self._wake()

    def _close(self, patient: _Patient) -> None:
        if self._patients.pop(patient.stream, None) is None:
            return
        self._paused.discard(patient)
        self._loop.remove_reader(patient.sock)
        self._loop.remove_writer(patient.sock)
        patient.sock.close()
        self._slots.give_back()
        self._status.count_stream(-1)
        if not self._patients:
            self._idle.set()
