"""One Varlink message on a socket: read with a cap, written whole, with the descriptors it carries.

Works on a non-blocking socket and the running loop, so that the same code serves asyncio and uvloop and can
take SCM_RIGHTS, which transports cannot. Does not interpret parameters.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from typing import Any

import msgspec

from appliance.core.errors import FAMILIES, Invalid, PraxisError, Unavailable

MAX_MESSAGE_BYTES = 1024 * 1024
MAX_DESCRIPTORS = 1
ERROR_PREFIX = "de.praxissafe."


class CallMessage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A call as it stands on the wire (varlink.org, "Method Call")."""

    method: str
    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


class ReplyMessage(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A reply as it stands on the wire."""

    parameters: msgspec.Raw = msgspec.Raw(b"{}")
    continues: bool = False
    error: str = ""


class ErrorParameters(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What travels of a failure: its code, and small facts the caller acts on."""

    code: str
    details: dict[str, int | str] = {}


encode_json = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(CallMessage).decode
_decode_reply = msgspec.json.Decoder(ReplyMessage).decode
_decode_error = msgspec.json.Decoder(ErrorParameters).decode


def decode_call(raw: bytes) -> CallMessage:
    """Read a call; Invalid("call") for anything else."""
    try:
        return _decode_call(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("call") from error


def encode_error(error: PraxisError) -> bytes:
    """Give the reply that carries `error`, without the terminating NUL."""
    body = encode_json(ErrorParameters(error.code, error.details))
    return encode_json(ReplyMessage(msgspec.Raw(body), error=ERROR_PREFIX + error.family))


def decode_reply(raw: bytes) -> bytes:
    """Give the parameters of a reply; raise the failure that it carries."""
    try:
        reply = _decode_reply(raw)
        if not reply.error:
            return bytes(reply.parameters)
        family = FAMILIES.get(reply.error.removeprefix(ERROR_PREFIX))
        if family is None:
            raise Invalid("call")
        failure = _decode_error(bytes(reply.parameters))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid("reply") from error
    raise family(failure.code, **failure.details)


async def _wait_readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(sock.fileno(), wake)
    try:
        await ready
    finally:
        loop.remove_reader(sock.fileno())


class Channel:
    """Both directions of one connected, non-blocking Unix socket; whoever made it closes it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()
        self._descriptors: list[int] = []

    @property
    def has_unread_bytes(self) -> bool:
        """True if bytes after the last message were received already."""
        return bool(self._buffer)

    async def receive(self) -> bytes:
        """Give the next message without its NUL; b"" at the end of the connection.

        Raises Invalid("message_size") over MAX_MESSAGE_BYTES, Invalid("message_truncated") at an end inside one.
        """
        searched = 0
        while (end := self._buffer.find(b"\0", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_MESSAGE_BYTES:
                raise Invalid("message_size")
            try:
                piece, ancillary, _, _ = self.sock.recvmsg(
                    65536, socket.CMSG_SPACE(4 * (MAX_DESCRIPTORS + 1)), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await _wait_readable(self.sock)
                continue
            self._keep(ancillary)
            if not piece:
                if self._buffer:
                    raise Invalid("message_truncated")
                return b""
            self._buffer += piece
        if end == 0:
            raise Invalid("message_empty")
        message = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return message

    def take_unread(self, count: int) -> bytes:
        """Give at most `count` bytes that were received after the last message already."""
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def send(self, message: bytes, descriptor: int | None = None) -> None:
        """Send a message, with at most one descriptor (a copy goes; the caller keeps and closes its own)."""
        data = message + b"\0"
        if descriptor is not None:
            # A freshly connected stream socket takes the first bytes and the descriptor in one call (unix(7)).
            sent = socket.send_fds(self.sock, [data], [descriptor])
            data = data[sent:]
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def take_descriptors(self) -> list[int]:
        """Give the descriptors received so far; the caller closes them."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close(self) -> None:
        """Close the socket and every descriptor nobody took."""
        for descriptor in self.take_descriptors():
            os.close(descriptor)
        self.sock.close()

    def _keep(self, ancillary: list[tuple[int, int, Any]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self._descriptors.extend(received)
        if len(self._descriptors) > MAX_DESCRIPTORS:
            raise Invalid("descriptors")


def lost(error: OSError) -> Unavailable:
    """Translate a broken local connection."""
    failure = Unavailable("peer_lost")
    failure.__cause__ = error
    return failure
