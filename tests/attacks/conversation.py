"""The portal's end of one connection, breakable at each layer: TLS's bytes, WebSocket (RFC 6455), yamux, control frames."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl

from appliance.core.errors import NotFound
from appliance.formats import tunnel_control as control
from appliance.formats.yamux import DataReceived, PeerGoesAway, Session, StreamFinished, StreamOpened, StreamReset

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
READ_BYTES = 64 * 1024
#: A box takes messages of at most 64 kB.
PIECES_BYTES = 32 * 1024
WAIT_S = 10.0


class Line:
    """One byte stream in both directions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def read(self) -> bytes:
        """Give some bytes; none at the end, however it came."""
        try:
            return await self.reader.read(READ_BYTES)
        except (OSError, ssl.SSLError):
            return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(
            OSError, RuntimeError, AttributeError
        ):  # asyncio's closed TLS transport has no protocol
            self.writer.write(data)
            await self.writer.drain()

    def end(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            if self.writer.can_write_eof():
                self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()


class Conversation:
    """The portal's end of one control connection, breakable at each layer."""

    def __init__(self, path: str, line: Line, certificate_sha256: bytes) -> None:
        self.path, self.line, self.certificate_sha256 = path, line, certificate_sha256
        self.box = b""
        self.accepted = False
        self.ended = asyncio.Event()
        self.yamux = Session("server", max_streams=1)
        self.stream = 0
        #: The value of the last ping that the box answered.
        self.answered = 0
        self._heard = bytearray()

    async def message(self, payload: bytes, opcode: int = BINARY, first: int = 0x80) -> None:
        """Send one WebSocket frame; `first`: its upper bits (FIN, RSV)."""
        length = len(payload)
        if length < 126:
            head = bytes([first | opcode, length])
        elif length < 1 << 16:
            head = bytes([first | opcode, 126]) + length.to_bytes(2, "big")
        else:
            head = bytes([first | opcode, 127]) + length.to_bytes(8, "big")
        await self.line.write(head + payload)

    async def say(self, *frames: control.Frame | bytes) -> None:
        """Say control frames, or any bytes, on the control stream, unless the box has ended it."""
        for frame in frames:
            try:
                self.yamux.send(self.stream, frame if isinstance(frame, bytes) else control.encode_frame(frame))
            except NotFound:
                self.ended.set()
                return
            await self.flush()

    async def flush(self) -> None:
        while data := self.yamux.bytes_to_send(PIECES_BYTES):
            await self.message(data)

    async def opened(self) -> None:
        """Wait until the box has opened the control stream."""
        while not self.stream and not self.ended.is_set():
            await self._read()

    async def hear(self) -> control.Frame | None:
        """Give the next frame; None when the box has hung up."""
        while len(self._heard) < control.FRAME_BYTES:
            if self.ended.is_set():
                return None
            await self._read()
        frame = control.decode_frame(bytes(self._heard[: control.FRAME_BYTES]))
        del self._heard[: control.FRAME_BYTES]
        return frame

    async def ask_for_proof(self, nonce: bytes | None = None) -> control.Prove | None:
        """Ask, and give the proof; None when the box has hung up."""
        await self.opened()
        await self.say(control.Nonce(nonce or secrets.token_bytes(control.NONCE_BYTES)))
        proof = await self.hear()
        if isinstance(proof, control.Prove):
            self.box = proof.box
            return proof
        return None

    async def listen(self) -> None:
        """Answer pings until the box hangs up."""
        while (frame := await self.hear()) is not None:
            if isinstance(frame, control.Ping):
                await self.say(control.Pong(frame.value))
            elif isinstance(frame, control.Pong):
                self.answered = frame.value

    async def gone(self, within_s: float = WAIT_S) -> bool:
        """Say whether the box hangs up within this time."""
        try:
            async with asyncio.timeout(within_s):
                while not self.ended.is_set():
                    await self._read()
        except TimeoutError:
            return False
        return True

    async def _read(self) -> None:
        payload = await self._receive()
        if payload is None:
            self.ended.set()
            return
        for event in self.yamux.receive(payload):
            match event:
                case StreamOpened(stream):
                    self.stream = stream
                case DataReceived(stream, data):
                    self._heard += data
                    self.yamux.consumed(stream, len(data))
                case StreamFinished() | StreamReset() | PeerGoesAway():
                    self.ended.set()
                case _:
                    pass
        await self.flush()

    async def _receive(self) -> bytes | None:
        """Give the payload of the next binary message; None at the end. Clients mask (RFC 6455 5.3)."""
        reader = self.line.reader
        try:
            while True:
                first, length = await reader.readexactly(2)
                length &= 0x7F
                if length >= 126:
                    length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8), "big")
                mask = await reader.readexactly(4)
                payload = await reader.readexactly(length)
                if first & 15 == CLOSE:
                    return None
                if first & 15 == BINARY:
                    key = (mask * (length // 4 + 1))[:length]
                    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
        except (OSError, asyncio.IncompleteReadError):
            return None
