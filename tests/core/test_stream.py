"""Frames arrive whole however the socket cuts them, and nothing behind them is taken."""

import asyncio
import random
import socket

import pytest

from appliance.core.errors import Invalid, Unavailable
from appliance.core.varlink.message import Channel, encode_error
from appliance.core.varlink.stream import FAILED, MAX_FRAME_BYTES, Stream

TIMEOUT_S = 30.0
SIZES = [1, 3, 4, 5, 65_536, MAX_FRAME_BYTES, MAX_FRAME_BYTES - 1, 2]


def frame(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    for end in (left, right):
        end.setblocking(False)
    channel = Channel(right)
    yield left, channel
    left.close()
    channel.close()


async def send(sock: socket.socket, data: bytes, cuts: list[int]) -> None:
    loop, start = asyncio.get_running_loop(), 0
    for end in [*cuts, len(data)]:
        await loop.sock_sendall(sock, data[start:end])
        await asyncio.sleep(0)
        start = end


async def taken(channel: Channel) -> list[bytes]:
    async with asyncio.timeout(TIMEOUT_S):  # bytes that were taken too early are waited for, for ever
        return [bytes(piece) async for piece in Stream(channel).pieces()]


@pytest.mark.parametrize("seed", range(6))
async def test_frames_come_whole_however_the_bytes_are_cut(ends, seed):
    left, channel = ends
    chance = random.Random(seed)
    contents = [chance.randbytes(size) for size in SIZES]
    data = b"".join(map(frame, contents)) + frame(b"")
    near = [position for position in range(40) if chance.random() < 0.5]
    cuts = sorted({*near, *(chance.randrange(len(data)) for _ in range(20))})
    sending = asyncio.create_task(send(left, data, cuts))
    assert await taken(channel) == contents
    await sending


async def test_what_follows_the_last_frame_is_left_for_the_next_message(ends):
    left, channel = ends
    await send(left, frame(b"x" * 100) + frame(b"") + b'{"parameters":{}}\0', [])
    assert await taken(channel) == [b"x" * 100]
    assert await channel.receive() == b'{"parameters":{}}'


async def test_a_failure_right_behind_a_frame_is_raised_with_its_code(ends):
    left, channel = ends
    failure = FAILED.to_bytes(4, "big") + encode_error(Invalid("document_size")) + b"\0"
    await send(left, frame(b"x" * 100) + failure, [])
    with pytest.raises(Invalid, match="document_size"):
        await taken(channel)


async def test_an_end_inside_a_header_is_a_break(ends):
    left, channel = ends
    await send(left, frame(b"x" * 100) + b"\0\0", [])
    left.shutdown(socket.SHUT_WR)
    with pytest.raises(Unavailable, match="stream_broken"):
        await taken(channel)


@pytest.mark.parametrize("size", [0, 1, MAX_FRAME_BYTES, 3 * MAX_FRAME_BYTES + 7])
async def test_what_is_written_into_a_full_socket_arrives_in_order(ends, size):
    left, channel = ends
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    content = random.Random(size).randbytes(size)

    async def write() -> None:
        sender = Stream(Channel(left))
        for start in range(0, size, 100_003):
            await sender.write(content[start : start + 100_003])
        await sender.complete()

    writing = asyncio.create_task(write())
    assert b"".join(await taken(channel)) == content
    await writing
