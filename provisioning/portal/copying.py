"""A patient's socket and a carrier that is not a socket of its own, copied: every byte, unread, both ways.

Rules it keeps: a side is read only when the other has room, so one relay holds at most what its carrier granted
(carriers.py) in either direction. A half-close passes through where the carrier can say it; where it cannot, a
patient who ended its direction keeps the other one as long as bytes move (`leaving`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from appliance.formats.waiting_bytes import WaitingBytes
from provisioning.portal.carriers import CHUNK_BYTES, CopiedCarrier

#: Pieces of yamux (16 KiB each) that are given to the patient in one call.
PIECES_AT_ONCE = 16


class Copy:
    """One relayed connection, like relay.Relay: `run` ends when both directions ended, one broke, or by `end`."""

    def __init__(self, patient: socket.socket, carrier: CopiedCarrier) -> None:
        self._loop = asyncio.get_running_loop()
        self._patient = patient
        self._carrier = carrier
        self._over = self._loop.create_future()
        self._waiting = WaitingBytes()  # from the box, for the patient
        self._reading = False
        self._writing = False
        self._patient_finished = False
        self._box_finished = False
        self._patient_told = False
        self.moved_at = self._loop.time()
        self.moved_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait here for a patient who does not read."""
        return len(self._waiting)

    @property
    def leaving(self) -> bool:
        """Whether the patient ended its direction and the box cannot be told."""
        return self._patient_finished and not self._carrier.halves

    async def run(self) -> None:
        """Relay until it is over. The caller closes both sides."""
        try:
            self._carrier.attach(self)
            self._pull()
            await self._over
        finally:
            self._read(wanted=False)
            self._write(wanted=False)
            self._waiting.clear()

    def end(self) -> None:
        """End the relay now."""
        if not self._over.done():
            self._over.set_result(None)

    # --- the box speaks (carriers.Attached) -----------------------------------------------------------

    def received(self, data: bytes) -> None:
        """See Attached."""
        self._waiting.append(data)

    def settle(self) -> None:
        """See Attached."""
        if not self._writing:
            self._push()

    def finished(self) -> None:
        """See Attached."""
        self._box_finished = True
        self._end_if_over()

    def writable(self) -> None:
        """See Attached."""
        if not self._reading:
            self._pull()

    def lost(self, *, cleanly: bool) -> None:
        """See Attached."""
        self._read(wanted=False)
        self._patient_finished = self._box_finished = True
        if cleanly:
            self._end_if_over()
        else:
            self.end()

    # --- both directions ------------------------------------------------------------------------------

    def _push(self) -> None:
        """Give the patient what waits for it."""
        if self._over.done():
            return
        try:
            while self._waiting:
                sent = self._patient.sendmsg(self._waiting.first(PIECES_AT_ONCE))
                self._moved(sent)
                self._waiting.drop(sent)
                self._carrier.consumed(sent)
        except BlockingIOError:
            pass
        except OSError:  # the patient is gone
            self.end()
            return
        self._write(wanted=bool(self._waiting))
        self._end_if_over()

    def _pull(self) -> None:
        """Give the box what the patient says, as much as the carrier has room for."""
        if self._over.done() or self._patient_finished:
            return
        room = min(self._carrier.room(), CHUNK_BYTES)
        if not room:
            self._read(wanted=False)
            return
        try:
            data = self._patient.recv(room)
        except BlockingIOError:
            self._read(wanted=True)
            return
        except OSError:
            self.end()
            return
        if data:
            self._moved(len(data))
            self._carrier.send(data)
            self._read(wanted=True)
        else:
            self._read(wanted=False)
            self._patient_finished = True
            self._carrier.finish()
            self._end_if_over()

    def _end_if_over(self) -> None:
        """Pass the box's end on once its bytes are through; end when both directions are over."""
        if self._waiting or not self._box_finished or self._over.done():
            return
        if not self._patient_told:
            self._patient_told = True
            with contextlib.suppress(OSError):
                self._patient.shutdown(socket.SHUT_WR)
        if self._patient_finished or not self._carrier.halves:
            self.end()

    def _moved(self, length: int) -> None:
        self.moved_at = self._loop.time()
        self.moved_bytes += length

    def _read(self, *, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self._loop.add_reader(self._patient, self._pull)
            else:
                self._loop.remove_reader(self._patient)

    def _write(self, *, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._patient, self._push)
            else:
                self._loop.remove_writer(self._patient)
