"""The bytes after an upgraded call: frames, so that an end can be told from a break.

Frame: length, 4 bytes big-endian, then so many bytes (1 to 256 KiB). Length 0: complete. Length 0xFFFFFFFF:
the sender failed; one NUL-terminated reply with the error follows. An end of the connection without either is a
broken transfer: Unavailable("stream_broken"). docs/formats/local-calls.md.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from mmap import MAP_PRIVATE, mmap

from appliance.core.errors import Invalid, PraxisError, Unavailable
from appliance.core.varlink.message import Channel, decode_reply, encode_error, lost

MAX_FRAME_BYTES = 256 * 1024
FAILED = 0xFFFFFFFF
_LENGTH = struct.Struct(">I")
HEADER_BYTES = _LENGTH.size


class Stream:
    """One direction at a time on a channel that has been upgraded; the channel's owner closes it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def pieces(self) -> AsyncIterator[memoryview]:
        """Give the frames' bytes in order until the sender says complete.

        A piece is valid only until the next is asked for. Raises what the sender failed with,
        Unavailable("stream_broken"), or Invalid("frame_size").
        """
        # A frame is taken together with the next one's header where both are there: one call and one wait for each
        # frame, and never a byte of what may follow the frames.
        view = memoryview(mmap(-1, MAX_FRAME_BYTES + HEADER_BYTES, MAP_PRIVATE))  # pages nobody fills are never made
        taken = await self._receive(view[:HEADER_BYTES], HEADER_BYTES)
        while True:
            (length,) = _LENGTH.unpack(view[taken - HEADER_BYTES : taken])
            if length == 0:
                return
            if length == FAILED:
                decode_reply(await self._channel.receive())
                raise Invalid("stream")
            if length > MAX_FRAME_BYTES:
                raise Invalid("frame_size")
            end = length + HEADER_BYTES
            taken = await self._receive(view[:end], length)
            yield view[:length]
            taken += await self._receive(view[taken:end], end - taken)

    async def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Send `piece`, cut into frames; an empty piece sends nothing."""
        view = memoryview(piece)
        for start in range(0, len(view), MAX_FRAME_BYTES):
            part = view[start : start + MAX_FRAME_BYTES]
            await self._send(_LENGTH.pack(len(part)), part)

    async def complete(self) -> None:
        """Say that all bytes are sent."""
        await self._send(_LENGTH.pack(0))

    async def fail(self, error: PraxisError) -> None:
        """Say that no more bytes come, and why."""
        await self._send(_LENGTH.pack(FAILED) + encode_error(error) + b"\0")

    async def _send(self, *parts: bytes | memoryview) -> None:
        """Send the parts in one call if the socket takes them, so that the other side wakes once for them."""
        try:
            try:
                sent = self._channel.sock.sendmsg(parts)
            except BlockingIOError:
                sent = 0
            for part in parts:
                rest, sent = memoryview(part)[sent:], max(0, sent - len(part))
                if rest:
                    await asyncio.get_running_loop().sock_sendall(self._channel.sock, rest)
        except OSError as error:
            raise lost(error) from error

    async def _receive(self, view: memoryview, least: int) -> int:
        """Fill `view` with `least` bytes at least and give how many."""
        unread = self._channel.take_unread(len(view))
        view[: len(unread)] = unread
        loop, done = asyncio.get_running_loop(), len(unread)
        while done < least:
            try:
                count = await loop.sock_recv_into(self._channel.sock, view[done:])
            except OSError as error:
                raise lost(error) from error
            if count == 0:
                raise Unavailable("stream_broken")
            done += count
        return done
