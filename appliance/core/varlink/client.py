"""The asking end: one connection per call, so a restarted peer is simply redialled.

A call that gets no answer within its time fails with Unavailable("peer_timeout"); a peer that cannot be reached
with Unavailable("peer_away").
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic

import msgspec

from appliance.core.errors import Invalid, Unavailable
from appliance.core.varlink.call import Call, Done, Interface, ReplyType
from appliance.core.varlink.message import CallMessage, Channel, decode_reply, encode_json, lost
from appliance.core.varlink.stream import Stream

CALL_TIMEOUT_S = 30.0
SOCKET_FOLDER = Path("/run/praxissafe")


class Peer:
    """A process to ask: its interface and where its socket is."""

    def __init__(self, interface: Interface, path: Path) -> None:
        self._interface = interface
        self._path = path

    @classmethod
    def of(cls, interface: Interface, process: str, folder: Path = SOCKET_FOLDER) -> Peer:
        """Give the peer that systemd listens for at `<folder>/<process>.sock`."""
        return cls(interface, folder / f"{process}.sock")

    async def ask(
        self, call: Call[ReplyType], *, descriptor: int | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> ReplyType:
        """Make one call and give its reply; raises the failure it was answered with.

        `descriptor` is sent as a copy; the caller still closes its own.
        """
        channel = await self._dial()
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._exchange(channel, call, descriptor)
        except TimeoutError as error:
            raise Unavailable("peer_timeout") from error
        finally:
            channel.close()
        kind: type[ReplyType] = type(call).reply
        return read_reply(raw, kind)

    @asynccontextmanager
    async def open(self, call: Call[Any]) -> AsyncIterator[tuple[Stream, Channel]]:
        """Upgrade a call and give the stream; for a verb with stream "in" use `send`, for "out" `receive`."""
        channel = await self._dial()
        try:
            read_reply(await self._exchange(channel, call, None, upgrade=True), Done)
            yield Stream(channel), channel
        finally:
            channel.close()

    @asynccontextmanager
    async def send(self, call: Call[ReplyType]) -> AsyncIterator[Upload[ReplyType]]:
        """Upgrade a call that takes bytes: write pieces, then `finish()` gives the reply.

        Leaving the block without `finish()` breaks the transfer, and the answering side discards it.
        """
        async with self.open(call) as (stream, channel):
            yield Upload(stream, channel, type(call).reply)

    async def receive(self, call: Call[Any]) -> AsyncIterator[memoryview]:
        """Upgrade a call that gives bytes: the pieces in order. Each is valid until the next is asked for."""
        async with self.open(call) as (stream, _):
            async for piece in stream.pieces():
                yield piece

    async def can_be_dialled(self) -> bool:
        """Say whether somebody listens at the socket; a process that is slow, or just starting, is there."""
        try:
            channel = await self._dial()
        except Unavailable:
            return False
        channel.close()
        return True

    async def _dial(self) -> Channel:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(self._path))
        except OSError as error:
            sock.close()
            raise Unavailable("peer_away") from error
        except BaseException:
            sock.close()
            raise
        return Channel(sock)

    async def _exchange(
        self, channel: Channel, call: Call[Any], descriptor: int | None, *, upgrade: bool = False
    ) -> bytes:
        message = CallMessage(self._interface.method(type(call)), msgspec.Raw(encode_json(call)), upgrade=upgrade)
        try:
            await channel.send(encode_json(message), descriptor)
            raw = await channel.receive()
        except OSError as error:
            raise lost(error) from error
        if not raw:
            raise Unavailable("peer_lost")
        return raw


class Upload(Generic[ReplyType]):
    """The sending side of an upgraded call."""

    def __init__(self, stream: Stream, channel: Channel, kind: type[ReplyType]) -> None:
        self._stream = stream
        self._channel = channel
        self._kind = kind

    async def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Send a piece; raises the reason if the answering side has ended the transfer early."""
        try:
            await self._stream.write(piece)
        except Unavailable:
            await self._early_answer()
            raise

    async def finish(self, timeout_s: float = CALL_TIMEOUT_S) -> ReplyType:
        """Say complete and give the reply; only now has the answering side kept the bytes."""
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    await self._stream.complete()
                except Unavailable:  # it may have refused just now
                    await self._early_answer()
                    raise
                raw = await self._channel.receive()
        except TimeoutError as error:
            raise Unavailable("peer_timeout") from error
        except OSError as error:
            raise lost(error) from error
        if not raw:
            raise Unavailable("peer_lost")
        return read_reply(raw, self._kind)

    async def _early_answer(self) -> None:
        try:
            raw = await self._channel.receive()
        except (OSError, Invalid):
            return
        if raw:
            read_reply(raw, self._kind)


def read_reply(raw: bytes, kind: type[ReplyType]) -> ReplyType:
    """Give the typed reply; raise the failure it carries, or Invalid("reply")."""
    try:
        reply: ReplyType = msgspec.json.decode(decode_reply(raw), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("reply") from error
    return reply
