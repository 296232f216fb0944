"""One fuzz target for each parser of bytes from outside: any bytes in, nothing but the declared failures out.

A target takes bytes, swallows what its parser may raise, and fails by anything else: another exception, a broken
property (what opens is written the same again; pieces give what the whole gives), an exceeded cap. `SEEDS` are real
examples, most from tests/vectors. tests/fuzz/__main__.py runs them; http_parsers.py has those that are HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.core.errors import Invalid, PraxisError, Tampered
from appliance.core.varlink import Call, Interface
from appliance.core.varlink.client import read_reply
from appliance.core.varlink.message import Channel
from appliance.core.varlink.server import _Server
from appliance.core.varlink.stream import Stream
from appliance.formats import envelope, share_manifest, yamux
from appliance.formats.client_hello import read_client_hello
from appliance.formats.padme import padme
from appliance.formats.proxy_header import MAX_HEADER_BYTES, decode_proxy_header, encode_proxy_header
from appliance.gateway.first_bytes import holder_of
from tests.formats.test_client_hello import openssl_hello

VECTORS = Path(__file__).parents[1] / "vectors"
KEY, BOX, DOCUMENT = bytes(range(32)), bytes(range(16)), bytes(range(32, 48))
LOCATOR, EXPIRES_AT, NONCE = "0f" * 16, 1_900_000_000, bytes(12)
#: How long a target may wait for bytes that are all there.
PATIENCE_S = 20.0
Target = Callable[[bytes], None]


class Sum(msgspec.Struct, forbid_unknown_fields=True):
    total: int


class Add(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})
    left: int
    words: dict[str, str] = msgspec.field(default_factory=dict)


class Take(Call[Sum]):
    reply: ClassVar = Sum
    callers: ClassVar = frozenset({"practice"})
    stream: ClassVar = "in"


async def answer_add(call: Add, _: object) -> Sum:
    return Sum(call.left)


async def answer_take(_: Take, __: object, stream: Stream) -> Sum:
    return Sum(sum([len(piece) async for piece in stream.pieces()]))


FUZZ = Interface("de.praxissafe.Fuzz", {"Add": Add, "Take": Take}, "interface de.praxissafe.Fuzz\n")
SERVER = _Server([(FUZZ, {Add: answer_add, Take: answer_take})], {os.getuid(): "practice"})


@contextlib.contextmanager
def sent(data: bytes) -> Iterator[socket.socket]:
    """Give the end of a Unix connection on which `data`, and then the end, has arrived or is arriving."""
    here, there = socket.socketpair()
    with here, there:
        for end in (here, there):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            there.sendall(data)
        with contextlib.suppress(OSError):
            there.shutdown(socket.SHUT_WR)
        yield here


_loop = asyncio.new_event_loop()


def finish(work: object) -> object:
    """Run a coroutine to its end; a hang fails."""
    return _loop.run_until_complete(asyncio.wait_for(work, PATIENCE_S))  # type: ignore[arg-type]


def varlink_call(data: bytes) -> None:
    """The answering end: whatever is sent is answered or hung up on; an exception would end the process."""
    with sent(data) as sock:
        finish(SERVER.attend(sock))


def varlink_reply(data: bytes) -> None:
    """The asking end reads a reply."""
    with contextlib.suppress(PraxisError):
        read_reply(data, Sum)


def varlink_stream(data: bytes) -> None:
    """The frames after an upgraded call."""

    async def read(sock: socket.socket) -> int:
        return sum([len(piece) async for piece in Stream(Channel(sock)).pieces()])

    with sent(data) as sock, contextlib.suppress(PraxisError):
        assert finish(read(sock)) <= len(data)


CAPS = {"max_streams": 8, "max_unread_bytes": 64 * 1024, "max_unsent_bytes": 4096}


def yamux_session(data: bytes) -> None:
    """A session of each role, in pieces, with an owner who answers; and nothing depends on where the pieces end."""
    for role in ("client", "server"):
        whole = told(yamux.Session(role, **CAPS), [data])
        pieces = told(yamux.Session(role, **CAPS), [data[at : at + 7] for at in range(0, len(data), 7)])
        assert whole == pieces
        busy = yamux.Session(role, **CAPS)
        with contextlib.suppress(Invalid):
            for at in range(0, len(data), 64):
                for event in busy.receive(data[at : at + 64]):
                    live_with(busy, event)
                assert busy.stream_count <= CAPS["max_streams"]
                assert len(busy.bytes_to_send()) <= 512 * 1024


def told(session: yamux.Session, pieces: list[bytes]) -> tuple[str, list[object]]:
    """Give how the session ended and its events, the bytes of a stream taken together."""
    events: list[object] = []
    carried: dict[int, bytes] = {}
    try:
        for piece in pieces:
            for event in session.receive(piece):
                if isinstance(event, yamux.DataReceived):
                    carried[event.stream] = carried.get(event.stream, b"") + event.data
                else:
                    events.append(event)
            assert session._unread_bytes <= CAPS["max_unread_bytes"]
    except Invalid:
        return "invalid", []
    return "open", [events, carried]


def live_with(session: yamux.Session, event: yamux.Event) -> None:
    """Do what an owner does: take bytes, answer, end."""
    if isinstance(event, yamux.DataReceived):
        session.consumed(event.stream, len(event.data))
        if session.room(event.stream) >= 64:
            session.send(event.stream, event.data[:64])
    elif isinstance(event, yamux.StreamFinished) and event.stream % 3:
        with contextlib.suppress(PraxisError):
            session.finish(event.stream)


def client_hello(data: bytes) -> None:
    """What is read of a beginning stays true when more has come."""
    try:
        found = read_client_hello(data)
    except Invalid:
        return
    if found is None:
        return
    assert read_client_hello(data + b"more") == found
    for end in range(0, len(data), max(1, len(data) // 16)):
        assert read_client_hello(data[:end]) in (None, found)


def first_bytes(data: bytes) -> None:
    """A PROXY header is read alike whatever follows, and says whom it would be written for; then a ClientHello."""
    try:
        header = decode_proxy_header(data)
    except Invalid:
        return
    if header is None:
        return
    assert header.length <= min(len(data), MAX_HEADER_BYTES)
    assert decode_proxy_header(data + b"more") == header
    assert all(decode_proxy_header(data[:end]) is None for end in range(0, header.length, 7))
    if header.source is not None:
        address, port = header.source
        again = decode_proxy_header(encode_proxy_header((str(address), port)))
        assert again is not None
        assert again.source is not None
        assert holder_of(again.source[0]) == holder_of(address)
    client_hello(data[header.length :])


def document(data: bytes) -> None:
    """The outer layer: a sealed file as it lies on a disk."""
    open_document(data, int.from_bytes(data[-3:], "big") if len(data) % 2 else len(data) // 2)


def document_inside(data: bytes) -> None:
    """The inner layer: the plaintext of whoever holds the key; what opens is sealed to the same bytes again."""
    length, plaintext = int.from_bytes(data[:3], "big"), data[3:]
    sealer = envelope.Sealer(KEY, envelope.document_associated_data(BOX, DOCUMENT), bytes(32), bytes(7))
    sealed = sealer.header() + sealer.seal(plaintext) + sealer.finish()
    opened = open_document(sealed, length)
    if opened is not None:
        header, content = opened
        again = envelope.DocumentSealer(KEY, BOX, DOCUMENT, header.name, header.media_type, bytes(32), bytes(7))
        assert again.header() + again.seal(content) + b"".join(again.finish()) == sealed


def open_document(sealed: bytes, length: int) -> tuple[envelope.InnerHeader, bytes] | None:
    opener = envelope.DocumentOpener(KEY, BOX, DOCUMENT, length)
    try:
        content = b"".join(opener.open(sealed[at : at + 50_000]) for at in range(0, len(sealed), 50_000))
        content += opener.finish()
    except Tampered:
        return None
    assert opener.inner_header is not None
    assert len(content) == length
    return opener.inner_header, content


def manifest(data: bytes) -> None:
    """A manifest as it lies in the spool."""
    with contextlib.suppress(Tampered):
        share_manifest.open_manifest(data, KEY, BOX, LOCATOR, EXPIRES_AT)


def manifest_inside(data: bytes) -> None:
    """What whoever holds the key may write; what opens is sealed to the same bytes again."""
    bound = share_manifest.manifest_associated_data(BOX, LOCATOR, EXPIRES_AT)
    data = data.rstrip(b" ")
    sealed = NONCE + AESGCM(KEY).encrypt(NONCE, data.ljust(padme(len(data))), bound)
    try:
        opened = share_manifest.open_manifest(sealed, KEY, BOX, LOCATOR, EXPIRES_AT)
    except Tampered:
        return
    assert all(len(share_manifest.parse_key(each.key)) == 32 for each in opened.documents)
    assert share_manifest.seal_manifest(opened, KEY, NONCE, BOX, LOCATOR, EXPIRES_AT) == sealed


def _call(method: str, **parameters: object) -> bytes:
    return json.dumps({"method": method, "parameters": parameters}).encode() + b"\0"


def _frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    return yamux.HEADER.pack(0, kind, flags, stream, length) + payload


def _document_files() -> Iterator[bytes]:
    files = json.loads((VECTORS / "envelope_document.json").read_bytes())["files"]
    yield from (b64decode(content) for content in files.values() if len(content) < 20_000)


def _document_plaintexts() -> Iterator[bytes]:
    for name, media_type, content in (("a.txt", "text/plain", b""), ("Ä.pdf", "application/pdf", bytes(300))):
        header = envelope.encode_inner_header(name, media_type)
        padding = bytes(envelope._padding_length(len(header), len(content)))
        yield len(content).to_bytes(3, "big") + header + content + padding + len(content).to_bytes(8, "big")


def _manifests() -> Iterator[tuple[bytes, bytes]]:
    for vector in json.loads((VECTORS / "share_manifest.json").read_bytes())["vectors"]:
        sealed = b64decode(vector["sealed"])
        with contextlib.suppress(Exception):  # vectors that are damaged on purpose have no inside
            bound = share_manifest.manifest_associated_data(
                bytes.fromhex(vector["box"]), vector["locator"], vector["expires_at"]
            )
            yield sealed, AESGCM(bytes.fromhex(vector["key"])).decrypt(sealed[:12], sealed[12:], bound)


_YAMUX = (
    _frame(1, 1, 1, 0) + _frame(0, 0, 1, 5, b"hello") + _frame(1, 4, 1, 0),
    _frame(0, 1, 2, 3, b"abc")
    + _frame(1, 0, 2, 70_000)
    + _frame(2, 1, 0, 7)
    + _frame(2, 2, 0, 7)
    + _frame(3, 0, 0, 0),
    _frame(1, 1, 1, 0) + _frame(1, 1, 3, 0) + _frame(1, 8, 1, 0) + _frame(0, 0, 3, 300, bytes(300)),
)
SEEDS: dict[str, list[bytes]] = {
    "varlink_call": [
        _call("de.praxissafe.Fuzz.Add", left=1, words={"a": "b"}),
        _call("org.varlink.service.GetInfo") * 2,
        _call("org.varlink.service.GetInterfaceDescription", interface="de.praxissafe.Fuzz"),
        b'{"method":"de.praxissafe.Fuzz.Take","upgrade":true}\0',
    ],
    "varlink_reply": [
        b'{"parameters":{"total":3}}',
        b'{"parameters":{"code":"share","details":{"tries":3}},"error":"de.praxissafe.NotFound"}',
    ],
    "varlink_stream": [
        b"\0\0\0\5hello\0\0\0\0",
        b"\0\0\0\1a\xff\xff\xff\xff" + b'{"parameters":{"code":"share"},"error":"de.praxissafe.NotFound"}\0',
    ],
    "yamux": list(_YAMUX),
    "client_hello": [
        openssl_hello("praxis-0a0b0c0d.localhost", ["acme-tls/1", "http/1.1"]),
        openssl_hello(None),
    ],
    "first_bytes": [
        encode_proxy_header(("198.51.100.7", 40_000)) + openssl_hello("praxis-0a0b0c0d.localhost", ["acme-tls/1"]),
        encode_proxy_header(("2001:db8::1", 1)) + openssl_hello(None),
        encode_proxy_header(None),
    ],
    "document": list(_document_files()),
    "document_inside": list(_document_plaintexts()),
    "manifest": [sealed for sealed, _ in _manifests()],
    "manifest_inside": [inside for _, inside in _manifests()],
}
TARGETS: dict[str, Target] = {
    "varlink_call": varlink_call,
    "varlink_reply": varlink_reply,
    "varlink_stream": varlink_stream,
    "yamux": yamux_session,
    "client_hello": client_hello,
    "first_bytes": first_bytes,
    "document": document,
    "document_inside": document_inside,
    "manifest": manifest,
    "manifest_inside": manifest_inside,
}
