"""Patients who load documents for as long as the soak runs: slowly, in pieces, with breaks, and again from where it broke.

Each takes its documents at a pace of its own from a small socket buffer, so that bytes wait in the box and not in this process's kernel. A
connection that ends, for whatever reason, is dialled again and goes on by Range; what counts is the digest of the whole. Each patient
comes from an address of its own in 127.0.0.0/8, as patients do.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.simulators.patient_side import MadeShare

PIECE_BYTES = 8 * 1024
RECEIVE_BUFFER_BYTES = 16 * 1024
ANSWER_S = 90.0
PAUSE_S = (0.2, 1.5)


class Ended(Exception):
    """The connection ended before the document did."""


#: RuntimeError: uvloop's word for a transport that is closed.
BROKEN = (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError, RuntimeError, Ended)


@dataclass
class Tally:
    """What the patients together saw."""

    documents: int = 0
    wrong: int = 0
    received_bytes: int = 0
    #: Connections that a patient broke off, and those that ended on it.
    broken_off: int = 0
    ended: int = 0
    refused: int = 0
    kinds: dict[str, int] = field(default_factory=dict)

    def note(self, error: BaseException) -> None:
        name = type(error).__name__
        self.kinds[name] = self.kinds.get(name, 0) + 1


@dataclass
class Visit:
    """One patient: `pace` in bytes a second, `cut_chance` a piece."""

    number: int
    host: str
    port: int
    context: ssl.SSLContext
    share: MadeShare
    pace: float
    cut_chance: float
    chance: random.Random
    tally: Tally

    async def run(self, until: asyncio.Event) -> None:
        """Load one document after another until told to stop; the last one is loaded to its end."""
        await asyncio.sleep(self.chance.uniform(0, 3))
        while not until.is_set():
            await self.load(self.chance.randrange(len(self.share.documents)), until)

    async def load(self, index: int, hurry: asyncio.Event) -> None:
        document = self.share.documents[index]
        digest, received = hashlib.sha256(), 0
        while received < document.sealed_length:
            try:
                async for piece in self._pieces(document.file, received, hurry):
                    digest.update(piece)
                    received += len(piece)
                    self.tally.received_bytes += len(piece)
            except BROKEN as error:
                self.tally.ended += 1
                self.tally.note(error)
                await asyncio.sleep(self.chance.uniform(*PAUSE_S))
        if digest.hexdigest() == document.sha256 and received == document.sealed_length:
            self.tally.documents += 1
        else:
            self.tally.wrong += 1

    async def _pieces(self, file: str, begin: int, hurry: asyncio.Event) -> AsyncIterator[bytes]:
        sock, reader, writer = await asyncio.wait_for(self._dial(), ANSWER_S)
        try:
            headers = (
                f"Host: {self.host}:{self.port}\r\nPraxis-Locator: {self.share.locator}\r\nPraxis-File: {file}\r\n"
            )
            writer.write(f"GET /share/document HTTP/1.1\r\n{headers}Range: bytes={begin}-\r\n\r\n".encode())
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_S)).decode("latin-1")
            if head.split(" ")[1] not in ("200", "206"):
                self.tally.refused += 1
                raise Ended
            length = next(
                int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length")
            )
            while length:
                piece = await asyncio.wait_for(reader.read(min(PIECE_BYTES, length)), ANSWER_S)
                if not piece:
                    raise Ended
                length -= len(piece)
                yield piece
                if not hurry.is_set():
                    await asyncio.sleep(len(piece) / self.pace)
                    if self.chance.random() < self.cut_chance:
                        self.tally.broken_off += 1
                        self._break_off(sock, writer)
                        return
        finally:
            writer.close()
            with contextlib.suppress(*BROKEN):
                await asyncio.wait_for(writer.wait_closed(), 5)

    async def _dial(self) -> tuple[socket.socket, asyncio.StreamReader, asyncio.StreamWriter]:
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.bind((f"127.1.{self.number // 250}.{self.number % 250 + 1}", 0))
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=self.context, server_hostname=self.host, limit=4 * PIECE_BYTES
            )
            return sock, reader, writer
        except BaseException:
            sock.close()
            raise

    def _break_off(self, sock: socket.socket, writer: asyncio.StreamWriter) -> None:
        """Leave as browsers do, or as phones do that lose their network: a close, or a reset."""
        if self.chance.random() < 0.5:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
