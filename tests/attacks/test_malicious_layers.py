"""A12, a hostile portal that breaks what its words travel in: yamux, WebSocket, the upgrade to it.

Each ends that session, or is refused; memory is bounded; the box stands, and is back as soon as the portal behaves.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from appliance.formats import tunnel_control as control
from appliance.formats.yamux import HEADER
from tests.attacks.control_scene import GROWTH_KIB, Scene, control_scene, reach
from tests.attacks.conversation import BINARY, PING, TEXT, Conversation, Line
from tests.attacks.malicious_portal import upgrade_only

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 20260513


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with control_scene(tmp_path_factory.mktemp("malicious")) as made:
        yield made


# --- yamux -------------------------------------------------------------------------------------------------------

DATA, WINDOW, ASK, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def header(kind: int, flags: int, stream: int, length: int, version: int = 0) -> bytes:
    return struct.pack(">BBHII", version, kind, flags, stream, length)


YAMUX_ENDS = {
    "another version": header(ASK, SYN, 0, 1, version=1),
    "unknown type": header(4, 0, 0, 0),
    "unknown flag": header(DATA, 16, 1, 0),
    "stream 0 opened": header(WINDOW, SYN, 0, 0),
    "stream of the box's own number": header(WINDOW, SYN, 3, 0),
    "the control stream opened again": header(WINDOW, SYN, 1, 0),
    "more than the window": header(DATA, 0, 1, 256 * 1024 + 1),
    "a window beyond 32 bits": header(WINDOW, 0, 1, 0xFFFFFFFF) * 2,
    "pings without end": header(ASK, SYN, 0, 1) * 5000,
    "streams without end": b"".join(header(WINDOW, SYN, 2 * number, 0) for number in range(1, 5001)),
    "the control stream finished": header(WINDOW, FIN, 1, 0),
    "the control stream reset": header(WINDOW, RST, 1, 0),
    "go away": header(AWAY, 0, 0, 1),
    "noise": random.Random(SEED).randbytes(4096),
}


@pytest.mark.parametrize("name", YAMUX_ENDS)
async def test_yamux_that_is_broken_ends_the_session(scene: Scene, name: str) -> None:
    memory = scene.box.memory_kib("tunnel")
    await scene.attack(reach("accepted", lambda talk: talk.message(YAMUX_ENDS[name])), proofs=1)
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB


async def test_streams_that_nobody_may_open_are_refused_and_nothing_of_them_is_kept(scene: Scene) -> None:
    """One at a time, each refusal read: no limit is met, and no memory taken."""
    await scene.stands()
    talk, memory = scene.portal.sessions[-1], scene.box.memory_kib("tunnel")
    for number in range(1, 3001):
        stream = 2 * number
        await talk.message(header(WINDOW, SYN, stream, 0) + header(DATA, 0, stream, 8) + b"patient!")
    await talk.say(control.Ping(7))
    await scene.portal.until(lambda: talk.answered == 7)
    assert not talk.ended.is_set()
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB
    assert not scene.portal.work_lines
    await scene.stands()


async def test_four_gigabytes_announced_to_a_stream_that_is_not_there_take_no_memory(scene: Scene) -> None:
    await scene.stands()
    talk, memory = scene.portal.sessions[-1], scene.box.memory_kib("tunnel")
    await talk.message(header(DATA, 0, 2, 0xFFFFFFFF))
    for _ in range(1000):
        await talk.message(bytes(32 * 1024))
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB
    talk.line.close()
    await scene.portal.until(talk.ended.is_set)
    await scene.stands()


# --- WebSocket ---------------------------------------------------------------------------------------------------


async def in_pieces(talk: Conversation) -> None:
    await talk.message(bytes(30_000), BINARY, first=0)
    for _ in range(8):
        await talk.message(bytes(30_000), 0, first=0)


WEBSOCKET_ENDS: dict[str, Callable[[Conversation], object]] = {
    "text": lambda talk: talk.message(b"hello", TEXT),
    "a message of a megabyte": lambda talk: talk.message(bytes(1 << 20)),
    "a message of 2^62 bytes": lambda talk: talk.line.write(b"\x82\x7f" + (1 << 62).to_bytes(8, "big") + bytes(1000)),
    "a message in pieces without end": in_pieces,
    "a reserved bit": lambda talk: talk.message(b"x", BINARY, first=0xC0),
    "an unknown opcode": lambda talk: talk.message(b"x", 3),
    "a continuation of nothing": lambda talk: talk.message(b"x", 0),
    "a control frame in pieces": lambda talk: talk.message(b"x", PING, first=0),
    "a control frame too long": lambda talk: talk.message(bytes(200), PING),
    "a close": lambda talk: talk.message(b"\x03\xe8", 8),
    "no WebSocket": lambda talk: talk.line.write(b"HTTP/1.1 200 OK\r\n\r\n" * 100),
}


@pytest.mark.parametrize("name", WEBSOCKET_ENDS)
async def test_a_websocket_that_is_broken_ends_the_session(scene: Scene, name: str) -> None:
    memory = scene.box.memory_kib("tunnel")
    await scene.attack(reach("accepted", WEBSOCKET_ENDS[name]), proofs=1)
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB


# --- The upgrade -------------------------------------------------------------------------------------------------


async def endlessly(line: Line, first: bytes, more: bytes) -> None:
    await line.write(first)
    for _ in range(2000):
        if line.writer.is_closing():
            return
        await line.write(more)
    await line.reader.read(1)


ANSWERS: dict[str, Callable[[Line], object]] = {
    "sent elsewhere": lambda line: line.write(
        b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:9/control\r\nContent-Length: 0\r\n\r\n"
    ),
    "sent to itself": lambda line: line.write(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /control\r\nContent-Length: 0\r\n\r\n"
    ),
    "sent to HTTP": lambda line: line.write(
        b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "a page": lambda line: line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    "a page without end": lambda line: endlessly(line, b"HTTP/1.1 200 OK\r\n\r\n", bytes(16384)),
    "headers without end": lambda line: endlessly(
        line, b"HTTP/1.1 101 Switching Protocols\r\n", b"X: " + b"y" * 8000 + b"\r\n"
    ),
    "one header without end": lambda line: endlessly(line, b"HTTP/1.1 101 Switching Protocols\r\nX: ", b"y" * 8000),
    "another key's answer": lambda line: line.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
    ),
    "another protocol": lambda line: line.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    ),
    "wait for ever": lambda line: line.write(
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n"
    ),
    "wait until a date": lambda line: line.write(
        b"HTTP/1.1 503 Busy\r\nRetry-After: Fri, 31 Dec 2099 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n"
    ),
    "a cookie and a page": lambda line: line.write(
        b"HTTP/1.1 401 Unauthorized\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    ),
    "no HTTP": lambda line: line.write(random.Random(SEED).randbytes(1000)),
    "nothing": lambda line: line.reader.read(1),
    "the end": lambda line: asyncio.sleep(0),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_is_no_upgrade_gets_no_proof_and_leads_nowhere(scene: Scene, name: str) -> None:
    await scene.stands()
    portal, box = scene.portal, scene.box
    proofs, memory, begun = len(box.vault.proofs), box.memory_kib("tunnel"), len(portal.requests)

    async def answer(_: str, line: Line) -> bool:
        await ANSWERS[name](line)  # type: ignore[misc]
        return True

    portal.answer = answer
    portal.sessions[-1].line.close()
    await portal.until(lambda: len(portal.requests) >= begun + 2)
    portal.answer = upgrade_only
    assert len(box.vault.proofs) == proofs
    assert {path for path in portal.requests if not path.startswith("/control")} <= {"/relays"}
    assert box.memory_kib("tunnel") - memory < GROWTH_KIB
    await scene.stands()


assert HEADER.size == len(header(0, 0, 0, 0))
