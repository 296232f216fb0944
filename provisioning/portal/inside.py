"""What comes inside the portal's own TLS: a wrapped work connection, a probe, or HTTP, told apart by four bytes.

Rule it keeps: a connection that has not become something by its time is ended (own_connections.py); a token that
nobody issued is closed without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from appliance.formats.proxy_header import encode_proxy_header
from appliance.formats.tunnel_control import (
    PROBE_PREFIX,
    WORK_PREFACE_BYTES,
    WORK_PREFIX,
    WorkPreface,
    decode_work_preface,
)
from provisioning.portal.boxes import Boxes
from provisioning.portal.carriers import WrappedCarrier
from provisioning.portal.counts import Counts
from provisioning.portal.own_connections import OwnConnections


class Inside(asyncio.Protocol):
    """The first protocol of such a connection.

    `serve_http` makes the protocol of the portal's routes; `left` is called once: the connection is known or gone.
    """

    __slots__ = ("_boxes", "_counts", "_left", "_own", "_received", "_serve_http", "_transport")

    def __init__(
        self,
        boxes: Boxes,
        own: OwnConnections,
        counts: Counts,
        serve_http: Callable[[], asyncio.Protocol],
        left: Callable[[], None],
    ) -> None:
        self._boxes = boxes
        self._own = own
        self._counts = counts
        self._serve_http = serve_http
        self._left = left
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it: from now on it has its time."""
        self._transport = cast(asyncio.Transport, transport)
        self._own.opened(self._transport, asyncio.get_running_loop().time(), self._left)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._transport is not None:
            self._own.keep(self._transport)

    def data_received(self, data: bytes) -> None:
        """Decide as soon as it can be decided."""
        self._received += data
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        prefix = self._received[: len(WORK_PREFIX)]
        if prefix not in (WORK_PREFIX[: len(prefix)], PROBE_PREFIX[: len(prefix)]):
            self._hand_over(transport)
            return
        preface = decode_work_preface(self._received)
        if preface is not None and not self._take(transport, preface):
            transport.close()

    def _hand_over(self, transport: asyncio.Transport) -> None:
        http = self._serve_http()
        transport.set_protocol(http)
        http.connection_made(transport)
        http.data_received(self._received)

    def _take(self, transport: asyncio.Transport, preface: WorkPreface) -> bool:
        """Give a work connection to its box, answer a probe; False: close it."""
        now = asyncio.get_running_loop().time()
        if len(self._received) > WORK_PREFACE_BYTES:  # it spoke before its patient
            self._counts.malformed += 1
            return False
        if preface.probe:
            if self._boxes.probe_arrived(preface.token, now):
                transport.write(encode_proxy_header(None))
            return False
        carrier = WrappedCarrier(transport)
        if not self._boxes.work_connection_arrived(preface.token, carrier, now):
            return False
        self._own.keep(transport)
        return True
