"""Bytes that wait: all of them, in order, in few pieces."""

from __future__ import annotations

import random

from appliance.formats.waiting_bytes import JOINED_BYTES, WaitingBytes


def test_every_byte_comes_out_once_and_in_order() -> None:
    chance = random.Random(20261201)
    waiting, put, taken = WaitingBytes(), bytearray(), bytearray()
    for _ in range(5000):
        if chance.random() < 0.6:
            data = chance.randbytes(chance.choice((0, 1, 7, JOINED_BYTES - 1, JOINED_BYTES, 5000)))
            waiting.append(data)
            put += data
        else:
            length = chance.randint(0, len(waiting))
            taken += b"".join(waiting.first(waiting.pieces))[:length]
            waiting.drop(length)
        assert len(waiting) == len(put) - len(taken)
    assert taken + b"".join(waiting.first(waiting.pieces)) == put


def test_bytes_that_come_one_by_one_are_few_pieces() -> None:
    waiting = WaitingBytes()
    for _ in range(100 * JOINED_BYTES):
        waiting.append(b"x")
    assert waiting.pieces <= 100


def test_large_pieces_are_not_copied() -> None:
    waiting, data = WaitingBytes(), bytes(16 * 1024)
    waiting.append(data)
    waiting.append(data)
    assert [piece.obj is data for piece in waiting.first(9)] == [True, True]


def test_what_is_cleared_is_gone() -> None:
    waiting = WaitingBytes()
    waiting.append(b"x" * 3000)
    waiting.clear()
    assert (len(waiting), waiting.pieces, waiting.first(1)) == (0, 0, [])
