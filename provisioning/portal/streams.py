"""A box whose patients are streams of its one control connection: for networks that let one connection out only."""

from __future__ import annotations

from typing import Protocol

from provisioning.portal.carriers import CHUNK_BYTES, Attached, Carrier, CopiedCarrier
from provisioning.portal.login import ControlEnd, Login


class StreamHost(ControlEnd, Protocol):
    """What a stream may do with the control connection it is part of."""

    def open_stream(self) -> StreamCarrier:
        """Open a stream to the box; Unavailable when there are too many."""

    def stream_room(self, stream: int) -> int:
        """Say how many bytes of a stream may be queued now."""

    def stream_send(self, stream: int, data: bytes) -> None:
        """Queue bytes of a stream."""

    def stream_consumed(self, stream: int, length: int) -> None:
        """Grant the box as much more."""

    def stream_finish(self, stream: int) -> None:
        """End one direction of a stream behind what is queued."""

    def stream_closed(self, stream: int, *, reset: bool) -> None:
        """Forget a stream; `reset`: drop it in both directions."""


class StreamCarrier(CopiedCarrier):
    """One stream. The box's window for it is what may wait here for a patient who does not read."""

    __slots__ = ("_attached", "_finished_here", "_finished_there", "_host", "_stream")
    halves = True

    def __init__(self, host: StreamHost, stream: int) -> None:
        self._host = host
        self._stream = stream
        self._attached: Attached | None = None
        self._finished_here = False
        self._finished_there = False

    def greet(self, header: bytes) -> None:
        """See Carrier."""
        self._host.stream_send(self._stream, header)

    def attach(self, attached: Attached) -> None:
        """See CopiedCarrier."""
        self._attached = attached

    def room(self) -> int:
        """See CopiedCarrier."""
        return min(self._host.stream_room(self._stream), CHUNK_BYTES)

    def send(self, data: bytes) -> None:
        """See CopiedCarrier."""
        self._host.stream_send(self._stream, data)

    def consumed(self, length: int) -> None:
        """See CopiedCarrier."""
        self._host.stream_consumed(self._stream, length)

    def finish(self) -> None:
        """See CopiedCarrier."""
        self._finished_here = True
        self._host.stream_finish(self._stream)

    def close(self) -> None:
        """See Carrier; what was queued before an orderly end still leaves."""
        self._attached = None
        self._host.stream_closed(self._stream, reset=not (self._finished_here and self._finished_there))

    # --- what the control connection tells ------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """The box said this."""
        if self._attached is not None:
            self._attached.received(data)

    def settle(self) -> None:
        """That was all for now."""
        if self._attached is not None:
            self._attached.settle()

    def finished(self) -> None:
        """The box says no more."""
        self._finished_there = True
        if self._attached is not None:
            self._attached.finished()

    def writable(self) -> None:
        """There may be room again."""
        if self._attached is not None:
            self._attached.writable()

    def lost(self) -> None:
        """The stream or its connection is gone."""
        if self._attached is not None:
            self._attached.lost(cleanly=False)


class StreamsLogin(Login):
    """A box on STREAMS_PATH: nothing is ordered, each patient is a stream that the portal opens."""

    __slots__ = ("_host",)

    def __init__(self, box: bytes, limit: int, host: StreamHost, now: float) -> None:
        super().__init__(box, limit, host, now)
        self._host = host

    async def _take(self) -> Carrier:
        return self._host.open_stream()
