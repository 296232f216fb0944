"""Ways to carry a patient's TLS badly: records (RFC 8446 5.1) that are changed, left out, put in another order, said twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Literal

from tests.attacks.conversation import Line
from tests.attacks.malicious_portal import Carry

HEADER_BYTES = 5

Towards = Literal["box", "patient"]
#: Takes each record with its number in this direction and gives what goes on instead.
Change = Callable[[int, bytes], list[bytes]]


async def records(line: Line) -> AsyncIterator[bytes]:
    """Give whole records until the line ends; what is cut off at the end is given too."""
    buffer = bytearray()
    while data := await line.read():
        buffer += data
        while len(buffer) >= HEADER_BYTES:
            length = HEADER_BYTES + int.from_bytes(buffer[3:5], "big")
            if len(buffer) < length:
                break
            yield bytes(buffer[:length])
            del buffer[:length]
    if buffer:
        yield bytes(buffer)


def changed(towards: Towards, change: Change) -> Carry:
    """Carry with a change in one direction, until that direction is broken or over."""

    async def copy(source: Line, target: Line, change: Change) -> None:
        number = 0
        async for record in records(source):
            for one in change(number, record):
                if not one:
                    source.close()
                    target.close()
                    return
                await target.write(one)
            number += 1
        target.end()

    async def carry(patient: Line, box: Line) -> None:
        to_box, to_patient = (change, as_it_is) if towards == "box" else (as_it_is, change)
        await asyncio.gather(copy(patient, box, to_box), copy(box, patient, to_patient))

    return carry


def as_it_is(_: int, record: bytes) -> list[bytes]:
    return [record]


def flipped(at: int) -> Change:
    """Change one bit in the middle of a record."""

    def change(number: int, record: bytes) -> list[bytes]:
        if number != at:
            return [record]
        middle = (HEADER_BYTES + len(record)) // 2
        return [record[:middle] + bytes([record[middle] ^ 1]) + record[middle + 1 :]]

    return change


def dropped(at: int) -> Change:
    return lambda number, record: [] if number == at else [record]


def twice(at: int) -> Change:
    return lambda number, record: [record, record] if number == at else [record]


def swapped(at: int) -> Change:
    """Let a record and the next one change places."""
    held: list[bytes] = []

    def change(number: int, record: bytes) -> list[bytes]:
        if number == at:
            held.append(record)
            return []
        return [record, held.pop()] if number == at + 1 and held else [record]

    return change


def shortened(at: int) -> Change:
    """Leave out the end of a record, its length corrected."""

    def change(number: int, record: bytes) -> list[bytes]:
        if number != at:
            return [record]
        length = len(record) - HEADER_BYTES - 1
        return [record[:3] + length.to_bytes(2, "big") + record[HEADER_BYTES:-1]]

    return change


def inserted(at: int, content_type: int) -> Change:
    """Put a record of the portal's own in front of one."""
    own = bytes([content_type, 3, 3, 0, 32]) + bytes(range(32))
    return lambda number, record: [own, record] if number == at else [record]


def retyped(at: int, content_type: int) -> Change:
    """Call a record something else."""
    return lambda number, record: [bytes([content_type]) + record[1:] if number == at else record]


def cut(at: int) -> Change:
    """End both connections at a record."""
    return lambda number, record: [b""] if number == at else [record]


def replaced(before: bytes, after: bytes) -> Change:
    """Put other bytes of the same length into the first record: another name into a ClientHello."""
    return lambda number, record: [record.replace(before, after)] if number == 0 else [record]
