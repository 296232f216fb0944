"""The portal's end of a WebSocket after the upgrade: frames of a client in, frames of a server out. Pure.

Purpose: a control connection stays open for weeks and mostly says nothing, so it holds this instead of aiohttp's
request, response, parser and task (docs/decisions/portal-relay.md). Messages are not assembled: their bytes are
one stream of yamux, wherever a message ends.

Rules it keeps: a client's frame is masked, binary or control, without extensions and at most `max_frame_bytes`
long; all else is Invalid.

Source: RFC 6455 4.2, 5.2 to 5.5.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import cast

from aiohttp._websocket.helpers import websocket_mask

from appliance.core.errors import Invalid

VERSION = "13"
KEY_BYTES = 16
ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_CONTROL_BYTES = 125
MASK_BYTES = 4
FINAL, MASKED = 0x80, 0x80
LENGTH_16, LENGTH_64 = 126, 127


class Opcode(IntEnum):
    """What a frame is; text is never one here."""

    CONTINUATION = 0
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


def accept_upgrade(headers: Mapping[str, str]) -> dict[str, str]:
    """Give the headers of the answer (101) to a client's request; Invalid unless it asks for a WebSocket.

    Source: RFC 6455 4.2.
    """
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        fits = len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except binascii.Error:
        fits = False
    asked = headers.get("Upgrade", "").lower() == "websocket" and "upgrade" in headers.get("Connection", "").lower()
    if not (fits and asked) or headers.get("Sec-WebSocket-Version") != VERSION:
        raise Invalid("websocket_upgrade")
    accept = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_SALT, usedforsecurity=False).digest()).decode()
    return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}


def encode_frame(opcode: Opcode, data: bytes) -> bytes:
    """Give a server's frame."""
    length = len(data)
    if length < LENGTH_16:
        head = bytes((FINAL | opcode, length))
    elif length < 1 << 16:
        head = struct.pack(">BBH", FINAL | opcode, LENGTH_16, length)
    else:
        head = struct.pack(">BBQ", FINAL | opcode, LENGTH_64, length)
    return head + data


class Reader:
    """Takes a client's bytes; gives binary bytes as they come, and control frames whole."""

    __slots__ = ("_beginning", "_continues", "_left", "_mask", "_max_frame_bytes", "_opcode")

    def __init__(self, max_frame_bytes: int) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._beginning = b""  # of a head, or of a control frame's body
        self._left = 0
        self._mask = bytes(MASK_BYTES)
        self._opcode = Opcode.BINARY
        self._continues = False

    def receive(self, data: bytes) -> list[tuple[Opcode, bytes]]:
        """Give what `data` completes, each with BINARY, CLOSE, PING or PONG. Raises Invalid."""
        found: list[tuple[Opcode, bytes]] = []
        if self._beginning:
            data, self._beginning = self._beginning + data, b""
        position = 0
        while True:
            if not self._left:
                head_bytes = self._read_head(data, position)
                if not head_bytes:
                    break
                position += head_bytes
                if not self._left:
                    if self._opcode is not Opcode.BINARY:
                        found.append((self._opcode, b""))
                    continue
            available = min(self._left, len(data) - position)
            if not available or (self._opcode is not Opcode.BINARY and available < self._left):
                break
            piece = bytearray(data[position : position + available])
            websocket_mask(self._mask, piece)
            self._mask = self._mask[available % MASK_BYTES :] + self._mask[: available % MASK_BYTES]
            found.append((self._opcode, cast(bytes, piece)))  # nobody keeps or changes it: a copy would cost
            position += available
            self._left -= available
        self._beginning = data[position:]
        return found

    def _read_head(self, data: bytes, position: int) -> int:
        """Read a frame's head at `position`; give its length, 0 for more bytes."""
        if len(data) - position < 2:
            return 0
        first, second = data[position], data[position + 1]
        length = second & ~MASKED
        size = 2
        if length == LENGTH_16:
            size, length = 4, int.from_bytes(data[position + 2 : position + 4], "big")
        elif length == LENGTH_64:
            size, length = 10, int.from_bytes(data[position + 2 : position + 10], "big")
        if len(data) - position < size + MASK_BYTES:
            return 0
        self._begin(first, length)
        if not second & MASKED:
            raise Invalid("websocket_frame")
        self._mask = data[position + size : position + size + MASK_BYTES]
        return size + MASK_BYTES

    def _begin(self, first: int, length: int) -> None:
        final, kind = bool(first & FINAL), first & ~FINAL
        if kind in (Opcode.CONTINUATION, Opcode.BINARY):
            if (kind == Opcode.CONTINUATION) != self._continues or length > self._max_frame_bytes:
                raise Invalid("websocket_frame")
            self._continues = not final
            self._opcode = Opcode.BINARY
        elif kind in (Opcode.CLOSE, Opcode.PING, Opcode.PONG) and final and length <= MAX_CONTROL_BYTES:
            self._opcode = Opcode(kind)
        else:
            raise Invalid("websocket_frame")
        self._left = length
