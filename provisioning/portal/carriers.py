"""What carries one patient's bytes between the portal and a box: a raw or wrapped work connection, or a stream.

    RawCarrier      a TCP connection, relayed by splice (relay.py)
    WrappedCarrier  a connection inside the portal's own TLS
    StreamCarrier   a yamux stream of a control connection over streams

A WorkConnection is one that the box dialled; it may wait as a spare. The last two are copied in user space
(copying.py): whoever attached is told what the box says, and says in turn which bytes have left memory, so that a
reader who stalls costs what one chunk or one window holds.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, cast

from provisioning.portal.sockets import quiet

#: What may wait unsent, or is read ahead, of one carrier.
CHUNK_BYTES = 64 * 1024


class Attached(Protocol):
    """Who is told what the box does on a carrier."""

    def received(self, data: bytes) -> None:
        """The box said this; `settle` follows."""

    def settle(self) -> None:
        """That was all for now: pass it on."""

    def finished(self) -> None:
        """The box says no more."""

    def writable(self) -> None:
        """The carrier may have room again."""

    def lost(self, *, cleanly: bool) -> None:
        """The carrier is gone; cleanly: what it brought is all there was."""


class Carrier(ABC):
    """One connection to a box, for one patient. Its owner closes it."""

    __slots__ = ()

    @abstractmethod
    def greet(self, header: bytes) -> None:
        """Say the PROXY header, before anything else."""

    @abstractmethod
    def close(self) -> None:
        """Be done with it."""


class WorkConnection(Carrier):
    """A carrier that the box dialled: before its patient comes it waits as a spare."""

    __slots__ = ()

    @abstractmethod
    def watch(self, stirred: Callable[[], None]) -> None:
        """Call `stirred` when a spare ends or speaks."""

    @abstractmethod
    def unwatch(self) -> None:
        """Stop that: a patient comes."""

    @abstractmethod
    def is_quiet(self) -> bool:
        """Say whether it is still open and has said nothing."""


class RawCarrier(WorkConnection):
    """A TCP connection."""

    __slots__ = ("sock",)

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def watch(self, stirred: Callable[[], None]) -> None:
        """See WorkConnection."""
        asyncio.get_running_loop().add_reader(self.sock, stirred)

    def unwatch(self) -> None:
        """See WorkConnection."""
        asyncio.get_running_loop().remove_reader(self.sock)

    def is_quiet(self) -> bool:
        """See WorkConnection."""
        return quiet(self.sock)

    def greet(self, header: bytes) -> None:
        """See Carrier; the first bytes of a connection always have room."""
        self.sock.send(header)

    def close(self) -> None:
        """See Carrier."""
        self.sock.close()


class CopiedCarrier(Carrier):
    """A carrier whose bytes pass through this process."""

    __slots__ = ()

    #: Whether `finish` ends one direction only.
    halves: bool

    @abstractmethod
    def attach(self, attached: Attached) -> None:
        """Tell `attached` from now on."""

    @abstractmethod
    def room(self) -> int:
        """Say how many bytes `send` takes now."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send bytes, at most `room`."""

    @abstractmethod
    def consumed(self, length: int) -> None:
        """Say that `length` received bytes have left memory."""

    @abstractmethod
    def finish(self) -> None:
        """Say that no more comes, if the carrier can."""


class WrappedCarrier(asyncio.Protocol, WorkConnection, CopiedCarrier):
    """A work connection inside the portal's TLS. TLS as asyncio has it cannot end one direction alone."""

    __slots__ = ("_attached", "_gone", "_held", "_paused", "_stirred", "_transport", "_unread")
    halves = False

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._attached: Attached | None = None
        self._stirred: Callable[[], None] | None = None
        self._paused = False
        self._held = False
        self._gone = False
        self._unread = 0
        transport.set_write_buffer_limits(high=CHUNK_BYTES)
        cast(_ReadLimits, transport).set_read_buffer_limits(high=CHUNK_BYTES)  # asyncio's and uvloop's TLS have it
        transport.set_protocol(self)

    def watch(self, stirred: Callable[[], None]) -> None:
        """See WorkConnection."""
        self._stirred = stirred

    def unwatch(self) -> None:
        """See WorkConnection."""
        self._stirred = None

    def is_quiet(self) -> bool:
        """See WorkConnection."""
        return not self._gone and not self._transport.is_closing()

    def greet(self, header: bytes) -> None:
        """See Carrier."""
        self._transport.write(header)

    def attach(self, attached: Attached) -> None:
        """See CopiedCarrier."""
        self._attached = attached
        if not self.is_quiet():
            attached.lost(cleanly=False)

    def room(self) -> int:
        """See CopiedCarrier."""
        return 0 if self._paused else CHUNK_BYTES

    def send(self, data: bytes) -> None:
        """See CopiedCarrier."""
        self._transport.write(data)

    def consumed(self, length: int) -> None:
        """See CopiedCarrier; reading goes on when nothing waits any more."""
        self._unread -= length
        if self._held and not self._unread:
            self._held = False
            self._transport.resume_reading()

    def finish(self) -> None:
        """See CopiedCarrier; the patient's own TLS has said it already."""

    def close(self) -> None:
        """See Carrier."""
        self._attached = self._stirred = None
        if self._unread:
            self._transport.abort()  # a paused transport would not see the other side leave
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._attached is None:
            self._gone = True  # a box that speaks before its patient
            self._stir()
            return
        self._unread += len(data)
        self._attached.received(data)
        self._attached.settle()
        if self._unread and not self._held:
            self._held = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self._gone = True
        if self._attached is not None:
            self._attached.finished()
        self._stir()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._gone = True
        if self._attached is not None:
            self._attached.lost(cleanly=exc is None)
        self._stir()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = False
        if self._attached is not None:
            self._attached.writable()

    def _stir(self) -> None:
        stirred, self._stirred = self._stirred, None
        if stirred is not None:
            stirred()


class _ReadLimits(Protocol):
    def set_read_buffer_limits(self, high: int) -> None: ...
