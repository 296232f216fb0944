"""The bytes after an upgraded call: frames, so that an end can be told from a break.

Frame: length, 4 bytes big-endian, then so many bytes (1 to 256 KiB). Length 0: complete. Length 0xFFFFFFFF:
the sender failed; one NUL-terminated reply with the error follows. An end of the connection without either is a
broken transfer: Unavailable("stream_broken"). docs/formats/local-calls.md.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator

from appliance.core.errors import Invalid, PraxisError, Unavailable
from appliance.core.varlink.message import Channel, decode_reply, encode_error, lost

MAX_FRAME_BYTES = 256 * 1024
FAILED = 0xFFFFFFFF
_LENGTH = struct.Struct(">I")


class Stream:
    """One direction at a time on a channel that has been upgraded; the channel's owner closes it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._buffer = bytearray(MAX_FRAME_BYTES)

    async def pieces(self) -> AsyncIterator[memoryview]:
        """Give the frames' bytes in order until the sender says complete.

        A piece is valid only until the next is asked for. Raises what the sender failed with,
        Unavailable("stream_broken"), or Invalid("frame_size").
        """
        header, view = bytearray(4), memoryview(self._buffer)
        while True:
            await self._receive_exactly(memoryview(header))
            (length,) = _LENGTH.unpack(header)
            if length == 0:
                return
            if length == FAILED:
                decode_reply(await self._channel.receive())
                raise Invalid("stream")
            if length > MAX_FRAME_BYTES:
                raise Invalid("frame_size")
            await self._receive_exactly(view[:length])
            yield view[:length]

    async def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Send `piece`, cut into frames; an empty piece sends nothing."""
        view = memoryview(piece)
        for start in range(0, len(view), MAX_FRAME_BYTES):
            part = view[start : start + MAX_FRAME_BYTES]
            await self._send(_LENGTH.pack(len(part)))
            await self._send(part)

    async def complete(self) -> None:
        """Say that all bytes are sent."""
        await self._send(_LENGTH.pack(0))

    async def fail(self, error: PraxisError) -> None:
        """Say that no more bytes come, and why."""
        await self._send(_LENGTH.pack(FAILED) + encode_error(error) + b"\0")

    async def _send(self, data: bytes | memoryview) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(self._channel.sock, data)
        except OSError as error:
            raise lost(error) from error

    async def _receive_exactly(self, view: memoryview) -> None:
        unread = self._channel.take_unread(len(view))
        view[: len(unread)] = unread
        loop, done = asyncio.get_running_loop(), len(unread)
        while done < len(view):
            try:
                count = await loop.sock_recv_into(self._channel.sock, view[done:])
            except OSError as error:
                raise lost(error) from error
            if count == 0:
                raise Unavailable("stream_broken")
            done += count
