"""When a button was held: from the kernel's events, by the kernel's times. Pure.

An event is `struct input_event` (linux/input.h; 24 bytes on a 64-bit machine): seconds, microseconds, type, code,
value. Codes: linux/input-event-codes.h. A hold is said once for each press: with the first event of the key, its
release or its own repetition, that comes five seconds or later after the press.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

HOLD_S = 5.0
EVENT = struct.Struct("@llHHi")

EV_SYN, EV_KEY = 0, 1
SYN_DROPPED = 3
KEY_POWER, KEY_RESTART = 116, 408
BUTTONS = frozenset({KEY_POWER, KEY_RESTART})
RELEASED, PRESSED = 0, 1


@dataclass(frozen=True)
class Event:
    """One event; `at_s` is of whatever clock the kernel uses for this device."""

    at_s: float
    kind: int
    code: int
    value: int


def read_events(data: bytes) -> Iterator[Event]:
    """Read whole events."""
    for seconds, microseconds, kind, code, value in EVENT.iter_unpack(data):
        yield Event(seconds + microseconds / 1_000_000, kind, code, value)


class Holding:
    """Which buttons of one device are down, and since when."""

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def note(self, event: Event) -> bool:
        """Say whether this event ends, or shows, a hold that was long enough."""
        if (event.kind, event.code) == (EV_SYN, SYN_DROPPED):
            self._since_s.clear()  # the kernel lost events: a release may be among them
            return False
        if event.kind != EV_KEY or event.code not in BUTTONS:
            return False
        if event.value == PRESSED:
            self._since_s[event.code] = event.at_s
            return False
        since_s = self._since_s.get(event.code)
        held = since_s is not None and event.at_s - since_s >= HOLD_S
        if held or event.value == RELEASED:
            self._since_s.pop(event.code, None)
        return held
