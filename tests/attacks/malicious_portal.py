"""A portal that a box trusts by its certificate and that does what it likes.

It has the pinned authority's key, so a box dials it, and it behaves well until a test changes one of its three habits:
`answer` (what an HTTP upgrade gets), `talk` (what a control conversation says), `carry` (how a patient's bytes pass).
It is written by the formats' definitions down to the bytes of WebSocket (RFC 6455) and yamux, so that each of them can
be broken.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import hashlib
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.formats import tunnel_control as control
from appliance.formats.client_hello import read_client_hello
from appliance.formats.proxy_header import encode_proxy_header
from provisioning.portal.authority import Authority
from tests.attacks.conversation import READ_BYTES, WAIT_S, Conversation, Line
from tests.portal.simulated_box import PORTAL_NAME

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 1.3
PEEK_PAUSE_S = 0.002


async def behave(talk: Conversation) -> None:
    """What a good portal says: nonce, accepted, an answer to each ping."""
    if await talk.ask_for_proof() is not None:
        await talk.say(control.Accepted())
        talk.accepted = True
        await talk.listen()


Talk = Callable[[Conversation], Awaitable[None]]
Answer = Callable[[str, Line], Awaitable[bool]]
Carry = Callable[[Line, Line], Awaitable[None]]


async def pass_on(patient: Line, box: Line) -> None:
    """Carry every byte both ways, as they are."""

    async def copy(source: Line, target: Line) -> None:
        while data := await source.read():
            await target.write(data)
        target.end()

    await asyncio.gather(copy(patient, box), copy(box, patient))


async def upgrade_only(_: str, __: Line) -> bool:
    """Answer no request in another way than by the upgrade."""
    return False


class MaliciousPortal:
    """See the module. `sessions` are the conversations so far; `homes` says whose patients go to which box."""

    def __init__(self, authority: Authority) -> None:
        self.authority_path = authority.authority_path
        self.context = authority.context(datetime.datetime.now(datetime.UTC))
        self.port = 0
        self.talk: Talk = behave
        self.answer: Answer = upgrade_only
        self.carry: Carry = pass_on
        #: What goes before a patient's bytes.
        self.introduction: Callable[[tuple[str, int]], bytes] = encode_proxy_header
        self.answers_probes = True
        self.homes: dict[str, bytes] = {}
        self.sessions: list[Conversation] = []
        self.requests: list[str] = []
        #: Every work connection that came, by its first bytes: prefix and token.
        self.work: list[bytes] = []
        self.work_lines: list[Line] = []
        self.patients = 0
        #: What went wrong in this portal itself: a box that says what it may not, or a mistake of a test.
        self.failures: list[BaseException] = []
        self._ordered: dict[bytes, asyncio.Future[Line | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def session(self, number: int) -> Conversation:
        """Wait for the conversation of this number."""
        await self.until(lambda: len(self.sessions) > number)
        return self.sessions[number]

    async def until(self, condition: Callable[[], bool], within_s: float = WAIT_S) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                await asyncio.sleep(0.005)

    async def order(self, box: bytes) -> Line:
        """Order a work connection of a box, as often as it takes a box to come."""
        async with asyncio.timeout(WAIT_S):
            while True:
                talk = next((one for one in reversed(self.sessions) if one.box == box and one.accepted), None)
                if talk is not None and not talk.ended.is_set():
                    token = secrets.token_bytes(control.TOKEN_BYTES)
                    self._ordered[token] = asyncio.get_running_loop().create_future()
                    await talk.say(control.Open(token))
                    if (line := await self._ordered[token]) is not None:
                        return line
                await asyncio.sleep(0.01)

    async def serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(listener)
            task = asyncio.ensure_future(self._receive(sock))
            self._tasks.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failures.append(failure)

    async def close(self) -> None:
        for line in self.work_lines:
            line.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _receive(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        source = sock.getpeername()
        name: str | None = None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
            first = await _first_bytes(sock)
            if first[:1] == b"\x16":
                hello = read_client_hello(first)
                name = hello.server_name if hello else None
            line = await _line(sock, self.context if name == PORTAL_NAME else None)
            try:
                if name in (None, PORTAL_NAME):
                    await self._receive_own(line, await line.reader.readexactly(len(control.WORK_PREFIX)))
                else:
                    self.patients += 1
                    work = await self.order(self.homes[name])
                    await work.write(self.introduction(source[:2]))
                    await self.carry(line, work)
                    work.close()
            finally:
                if line not in self.work_lines:
                    line.close()

    async def _receive_own(self, line: Line, first: bytes) -> None:
        if first in (control.WORK_PREFIX, control.PROBE_PREFIX):
            token = await line.reader.readexactly(control.TOKEN_BYTES)
            self.work.append(first + token)
            if first == control.PROBE_PREFIX and not self.answers_probes:
                return
            if first == control.PROBE_PREFIX:
                await line.write(encode_proxy_header(None))
                if token in self._ordered:  # spent; the patient's connection is ordered anew
                    self._ordered[token].set_result(None)
                return
            self.work_lines.append(line)
            if token in self._ordered:
                self._ordered[token].set_result(line)
            return
        head = (first + await line.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split(" ")[1]
        self.requests.append(path)
        if await self.answer(path, line):
            return
        fields = dict(part.lower().split(": ", 1) for part in head[1:] if ": " in part)
        if fields.get("upgrade") != "websocket":
            await line.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        key = next(part.split(": ", 1)[1] for part in head if part.lower().startswith("sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID, usedforsecurity=False).digest())
        await line.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        talk = Conversation(path, line, self.context.certificate_sha256)
        self.sessions.append(talk)
        try:
            await self.talk(talk)
        finally:
            talk.ended.set()


async def _first_bytes(sock: socket.socket) -> bytes:
    """Look at what comes first without taking it: a whole ClientHello, or enough of anything else."""
    sock.setblocking(False)
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(BlockingIOError):
                first = sock.recv(READ_BYTES, socket.MSG_PEEK)
                if first[:1] != b"\x16" or read_client_hello(first) is not None:
                    return first
            await asyncio.sleep(PEEK_PAUSE_S)


async def _line(sock: socket.socket, context: ssl.SSLContext | None) -> Line:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 22)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
    return Line(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


@asynccontextmanager
async def malicious_portal(folder: Path) -> AsyncIterator[MaliciousPortal]:
    """Run one on a free port of 127.0.0.1 with an authority of its own in `folder`."""
    portal = MaliciousPortal(Authority(folder, PORTAL_NAME, datetime.datetime.now(datetime.UTC)))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        portal.port = listener.getsockname()[1]
        serving = asyncio.ensure_future(portal.serve(listener))
        try:
            yield portal
        finally:
            serving.cancel()
            await portal.close()
    assert not portal.failures, portal.failures
