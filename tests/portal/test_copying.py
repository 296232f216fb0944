"""What a patient who does not read costs the portal, when the box sends as awkwardly as it may."""

from __future__ import annotations

import socket
import tracemalloc

from appliance.formats.yamux import INITIAL_WINDOW_BYTES
from provisioning.portal.carriers import Attached
from provisioning.portal.copying import Copy


class SilentCarrier:
    """A carrier that takes nothing and says nothing."""

    halves = True

    def attach(self, attached: Attached) -> None: ...
    def room(self) -> int:
        return 0

    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def consumed(self, length: int) -> None: ...


async def test_a_window_sent_byte_by_byte_to_a_stalled_patient_costs_little_more_than_its_bytes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        copy = Copy(ours, SilentCarrier())  # type: ignore[arg-type]
        tracemalloc.start()
        for byte in range(INITIAL_WINDOW_BYTES):
            copy.received(bytes([byte % 256]))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert copy.waiting_bytes == INITIAL_WINDOW_BYTES
        assert held < 1.5 * INITIAL_WINDOW_BYTES
        copy.end()
