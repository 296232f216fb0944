"""The portal's own end of a WebSocket: any cut of the bytes gives the same, and what no client may say is Invalid."""

from __future__ import annotations

import random
import struct

import pytest

from appliance.core.errors import Invalid
from provisioning.portal.websocket import Opcode, Reader, accept_upgrade, encode_frame

LIMIT = 1 << 20
ASKS = {
    "Upgrade": "WebSocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def masked(first: int, data: bytes, mask: bytes = b"mask") -> bytes:
    """Give a client's frame (RFC 6455 5.3), made here without the library."""
    length = len(data)
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 1 << 16:
        head = struct.pack(">BBH", first, 0x80 | 126, length)
    else:
        head = struct.pack(">BBQ", first, 0x80 | 127, length)
    return head + mask + bytes(byte ^ mask[position % 4] for position, byte in enumerate(data))


def joined(found: list[tuple[Opcode, bytes]]) -> list[tuple[Opcode, bytes]]:
    """Put neighbouring binary bytes together."""
    whole: list[tuple[Opcode, bytes]] = []
    for opcode, data in found:
        if whole and opcode is Opcode.BINARY and whole[-1][0] is Opcode.BINARY:
            data = whole.pop()[1] + data
        whole.append((opcode, data))
    return [(opcode, data) for opcode, data in whole if data or opcode is not Opcode.BINARY]


def test_the_answer_to_the_upgrade_is_that_of_the_rfc() -> None:
    assert accept_upgrade(ASKS)["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("name", "value"),
    [("Upgrade", "h2c"), ("Connection", "close"), ("Sec-WebSocket-Version", "8"), ("Sec-WebSocket-Key", "c2hvcnQ=")],
)
def test_what_asks_for_no_websocket_gets_none(name: str, value: str) -> None:
    with pytest.raises(Invalid):
        accept_upgrade(ASKS | {name: value})
    with pytest.raises(Invalid):
        accept_upgrade({key: asked for key, asked in ASKS.items() if key != name})


def test_any_cut_of_the_bytes_gives_the_same() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    said: list[tuple[Opcode, bytes]] = []
    wire = b""
    for _ in range(40):
        data = chance.randbytes(chance.choice((0, 1, 5, 125, 126, 4000, 70_000)))
        opcode = chance.choice((Opcode.BINARY, Opcode.BINARY, Opcode.PING, Opcode.PONG))
        data = data if opcode is Opcode.BINARY else data[:125]
        said.append((opcode, data))
        wire += masked(0x80 | opcode, data, chance.randbytes(4))
    reader, heard, position = Reader(LIMIT), [], 0
    while position < len(wire):
        step = chance.choice((1, 2, 3, 7, 100, 5000, 65_536))
        heard += reader.receive(wire[position : position + step])
        position += step
    assert joined(heard) == joined(said)


def test_a_message_in_fragments_is_one_stream() -> None:
    wire = masked(0x02, b"one ") + masked(0x89, b"ping") + masked(0x00, b"two ") + masked(0x80, b"three")
    found = Reader(LIMIT).receive(wire)
    assert b"".join(data for opcode, data in found if opcode is Opcode.BINARY) == b"one two three"
    assert (Opcode.PING, b"ping") in found


@pytest.mark.parametrize(
    "wire",
    [
        b"\x82\x01x",
        masked(0x81, b"text"),
        masked(0xC2, b"compressed"),
        masked(0x80, b"continues nothing"),
        masked(0x02, b"a") + masked(0x82, b"b"),
        masked(0x83, b"reserved"),
        masked(0x09, b"a control frame in fragments"),
        masked(0x89, bytes(126)),
        masked(0x82, bytes(17)),
        b"\x82\xff" + b"\xff" * 8 + b"mask",
    ],
    ids=["unmasked", "text", "rsv", "continuation", "unfinished", "opcode", "ping", "long_ping", "over", "2_64"],
)
def test_what_no_client_may_say_is_invalid(wire: bytes) -> None:
    with pytest.raises(Invalid):
        Reader(16).receive(wire + bytes(8))


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_servers_frame_is_not_masked_and_says_its_length(length: int) -> None:
    frame = encode_frame(Opcode.BINARY, b"x" * length)
    assert frame.endswith(b"x" * length)
    assert frame[0] == 0x82
    assert not frame[1] & 0x80
    size = {126: 4, 127: 10}.get(frame[1], 2)
    assert len(frame) == size + length
