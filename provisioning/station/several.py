"""Several boxes in one run: the list of them, a few at a time, each for itself. A failure of one stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import Invalid, NotFound, PraxisError
from provisioning.station.enrol import Order, Station, Tell, enrol
from provisioning.station.progress import Progress
from provisioning.station.workbench import SERIAL

MAX_LIST_BYTES = 256 * 1024
#: Making keys takes a discrete TPM some seconds, in which the station waits: a few boxes at once cost nothing.
BOXES_AT_ONCE = 4


@dataclass(frozen=True)
class Listed:
    """One line of the list."""

    serial: str
    bench_address: str
    bench_sha256: bytes | None = None


@dataclass(frozen=True)
class Outcome:
    """How one box ended."""

    serial: str
    failure: PraxisError | None


def read_list(path: Path) -> list[Listed]:
    """Read a list of boxes: `SERIAL ADDRESS:PORT [SHA-256]` a line; `#` begins a comment.

    Invalid("boxes", line=…) for a line that is none (line 0: no file), Invalid("boxes_twice", line=…).
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_LIST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("boxes", line=0) from error
    boxes: list[Listed] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        box = _listed(words, number)
        if any(box.serial == other.serial or box.bench_address == other.bench_address for other in boxes):
            raise Invalid("boxes_twice", line=number)
        boxes.append(box)
    if not boxes:
        raise Invalid("boxes", line=0)
    return boxes


def _listed(words: list[str], number: int) -> Listed:
    if not 2 <= len(words) <= 3 or not SERIAL.match(words[0]):
        raise Invalid("boxes", line=number)
    try:
        fingerprint = bytes.fromhex(words[2].replace(":", "")) if len(words) == 3 else None
    except ValueError as error:
        raise Invalid("boxes", line=number) from error
    if fingerprint is not None and len(fingerprint) != 32:
        raise Invalid("boxes", line=number)
    return Listed(words[0], words[1], fingerprint)


def order_again(progress: Progress, portal_ca: str) -> Order:
    """Give the order of a box that was begun; NotFound("serial_unknown") if nobody said where it is.

    Its fingerprint is not held to: a box that was restarted meanwhile has a new certificate. Its key is
    (Refused("serial_taken")).
    """
    if progress.place is None:
        raise NotFound("serial_unknown")
    place = {name: getattr(progress.place, name) for name in progress.place.__struct_fields__}
    return Order(**place, serial=progress.serial, bench_sha256=None, portal_ca=portal_ca)


async def enrol_several(
    orders: Sequence[Order],
    station: Station,
    at_once: int,
    tell: Callable[[str], Tell],
    end: Callable[[Outcome], None],
) -> list[Outcome]:
    """Enrol all, `at_once` at a time; `tell` gives each box its teller, `end` hears of each outcome as it comes."""
    turns = asyncio.Semaphore(at_once)

    async def enrol_one(order: Order) -> Outcome:
        async with turns:
            try:
                await enrol(order, station, tell(order.serial))
                outcome = Outcome(order.serial, None)
            except PraxisError as error:
                outcome = Outcome(order.serial, error)
        end(outcome)
        return outcome

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(enrol_one(order)) for order in orders]
    return [task.result() for task in tasks]
