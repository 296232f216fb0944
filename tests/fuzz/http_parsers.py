"""The fuzz targets that are HTTP: the staff's upload form and the intake, each as raw bytes on a connection of practice.

The whole application of practice stands behind the connection, with its own parser and guard; vault and records are
stand-ins that hold every call against its contract. Whatever is sent gets no answer of 5xx and no bug, and a name that
passes has no part of a path in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import msgspec

from appliance.contracts.records import AddDocument, AddedDocument
from appliance.contracts.vault import Box, CheckSession, Session
from appliance.core.errors import NotFound, Refused
from appliance.core.http_connection import QuietProtocol
from appliance.practice.connections import Connections, silence_libraries
from appliance.practice.desk import Desk
from appliance.practice.guard import Guard, Host
from appliance.practice.pages import Pages
from appliance.practice.pending_kits import PendingKits
from appliance.practice.pending_links import PendingLinks
from appliance.practice.routes import make_application
from appliance.practice.settings import PracticeSettings
from tests.fuzz.parsers import PATIENCE_S, _loop

HOST, CSRF = "praxis-0a0b0c0d-lan.localhost", "c" * 43
STAFF_TOKEN, DEVICE_TOKEN, PATIENT = "s" * 43, "d" * 43, "0f" * 16
TURNS = 40
BOX = Box(
    box="00" * 16, page_host="praxis.localhost", page_port=443, lan_host=HOST, lan_port=443, portal_address="p:1",
    portal_name="p", portal_ca="-", provisioned=True, claimed=True, practice_name="Praxis", telephone="030 123456",
)  # fmt: skip


class StandIn:
    """vault and records at once: knows one session, one device, and takes every document."""

    async def ask(self, call: Any, **_: Any) -> Any:
        checked(call)
        if not isinstance(call, CheckSession):
            raise NotFound("patient")
        if call.session not in {STAFF_TOKEN, DEVICE_TOKEN}:
            raise Refused("session")
        kind = "staff" if call.session == STAFF_TOKEN else "device"
        return Session(kind=kind, principal="00" * 16, name="N", idle_s_left=60, csrf=CSRF if kind == "staff" else "")

    @asynccontextmanager
    async def send(self, call: AddDocument) -> AsyncIterator[Any]:
        checked(call)
        for text in (call.name, *call.title.splitlines()):
            assert not any(unicodedata.category(each) in {"Cc", "Cs"} or each in "\u202e\u2066" for each in text)
        assert not re.search(r"[/\\]", call.name), "a name with a folder in it"

        async def write(_: bytes) -> None:
            await asyncio.sleep(0)

        async def finish(_: float) -> AddedDocument:
            return AddedDocument(document="0d" * 16, patient=PATIENT)

        yield SimpleNamespace(write=write, finish=finish)


def checked(call: Any) -> None:
    """Hold a call against its contract, as the answering process would."""
    msgspec.json.decode(msgspec.json.encode(call), type=type(call))


class Wire(asyncio.Transport):
    """A connection in memory; keeps what the protocol writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self._closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, pieces: Any) -> None:
        self.written += b"".join(pieces)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def _open_practice() -> tuple[Connections, Guard]:
    silence_libraries()
    peer: Any = StandIn()
    peers: Any = SimpleNamespace(vault=peer, records=peer, backup=peer, tunnel=peer, processes={})
    pages, links = Pages(BOX), PendingLinks()
    kits = PendingKits()
    guard = Guard(Host(BOX), peers, pages, links, kits)
    desk = Desk(PracticeSettings(stall_timeout_s=PATIENCE_S), None, peers, pages, links, kits, guard, time.time)  # type: ignore[arg-type]
    connections = Connections(make_application(desk), max_connections=1000, idle_timeout_s=60)
    return await connections.__aenter__(), guard


_practice: list[tuple[Connections, Guard]] = []


async def exchange(data: bytes, piece_bytes: int = 4096) -> bytes:
    """Send bytes on a new connection, hang up when nothing moves any more, and give what came back."""
    if not _practice:
        _practice.append(await _open_practice())
    connections, guard = _practice[0]
    wire, protocol = Wire(), connections.make_protocol()
    assert isinstance(protocol, QuietProtocol)
    protocol.connection_made(wire)
    for at in range(0, len(data), piece_bytes):
        protocol.data_received(data[at : at + piece_bytes])
        await asyncio.sleep(0)
    still = 0
    while still < TURNS:
        before = len(wire.written)
        await asyncio.sleep(0)
        still = still + 1 if len(wire.written) == before else 0
    task = protocol._task_handler
    protocol.connection_lost(None)
    if task is not None:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        task.cancel()  # it may still wait for the rest of a body that was refused (HttpLimits.lingering_s)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE_S)
    if guard.bug.done():
        failure = guard.bug.exception()
        _practice.clear()
        assert failure is not None
        raise failure
    return bytes(wire.written)


def ask(data: bytes) -> None:
    """No answer of 5xx, and every answer's status line is HTTP."""
    answered = _loop.run_until_complete(exchange(data))
    statuses = re.findall(rb"(?:\A|\r\n\r\n|[^\r\n])HTTP/\d\.\d (\d{3}) ", answered)
    assert not answered or re.match(rb"HTTP/\d\.\d \d{3} ", answered), answered[:80]
    assert not any(status >= b"500" for status in statuses), answered[:80]


def multipart(data: bytes) -> None:
    """The upload form: the first line is the content type, the rest the body."""
    content_type, _, body = data.partition(b"\n")
    if re.search(rb"[\0\r\n]", content_type) or len(content_type) > 4000:
        return
    ask(
        b"POST /patients/%s/documents HTTP/1.1\r\nHost: %s\r\nSec-Fetch-Site: same-origin\r\nCookie: __Host-session=%s\r\n"
        b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
        % (PATIENT.encode(), HOST.encode(), STAFF_TOKEN.encode(), content_type, len(body), body)
    )


def intake(data: bytes) -> None:
    """The intake: the request's bytes as they come."""
    ask(data)


def form(boundary: bytes, *parts: tuple[bytes, bytes]) -> bytes:
    """Give an upload form as a browser sends it."""
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (boundary, head, content)
        for head, content in parts
    )
    return b"multipart/form-data; boundary=%s\n%s--%s--\r\n" % (boundary, body, boundary)


def put(*headers: bytes, body: bytes = b"%PDF-1.7\n", path: bytes = b"/intake/v1/documents") -> bytes:
    """Give a PUT as practice software sends it."""
    lines = (
        b"PUT %s HTTP/1.1" % path, b"Host: " + HOST.encode(), b"Authorization: Bearer " + DEVICE_TOKEN.encode(),
        b"Content-Type: application/pdf", b"Praxis-Kind: finding", b"Praxis-Patient-Family-Name: M%C3%BCller",
        b"Praxis-Patient-Given-Name: Erika", b"Praxis-Patient-Birth-Date: 1964-08-12", *headers,
    )  # fmt: skip
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


_CHUNKED = b"9\r\n%PDF-1.7\n\r\n5;x=y\r\nabcde\r\n0\r\n\r\n"
_START = ((b'name="csrf"', CSRF.encode()), (b'name="kind"', b"finding"), (b'name="title"', b""))
SEEDS = {
    "multipart": [
        form(b"XyZ", *_START, (b'name="file"; filename="a.pdf"', b"%PDF-1.7\n")),
        form(
            b"X",
            *_START,
            (b'name="file"; filename="../../etc/a.txt"', b"text"),
            (b'name="file"; filename="b.txt"', b"x"),
        ),
        form(b"X", *_START, (b"name=\"file\"; filename*=UTF-8''%E2%80%AEfdp.exe", b"%PDF-1.7\n")),
        form(b"X", *_START, (b'name="file"; filename="' + b"n" * 300 + b'.pdf"', b"%PDF-1.7\n")),
        form(b"X", (b'name="csrf"', b"wrong")),
    ],
    "intake": [
        put(b"Praxis-Name: a.pdf", b"Idempotency-Key: k1", b"Content-Length: 9"),
        put(
            b"Praxis-Name: UTF-8''..%2F%E2%80%AE.pdf",
            b'Idempotency-Key: "k2"',
            b"Transfer-Encoding: chunked",
            body=_CHUNKED,
        ),
        put(b"Praxis-Name: %00a", b"Expect: 100-continue", b"Content-Length: 9", path=b"/intake/v1/documents/k3"),
        put(b"Praxis-Name: a", b"Content-Length: 9", b"Content-Encoding: gzip", b"Idempotency-Key: k") * 2,
        put(
            b"Praxis-Name: " + b"n" * 300, b"Praxis-Title: " + b"t" * 250, b"Content-Length: 9", b"Idempotency-Key: k"
        ),
    ],
}
TARGETS = {"multipart": multipart, "intake": intake}
