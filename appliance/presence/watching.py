"""Reading the buttons, for ever: a device that is not there, or goes away, is looked for again.

Nothing is written to a device. The kernel is asked to stamp events by a clock that nobody sets (EVIOCSCLOCKID,
linux/input.h); what is not an input device, as in the demo, brings its own times.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from appliance.core.errors import PraxisError
from appliance.core.journal import say
from appliance.presence.button import EVENT, Holding, read_events

LOOK_AGAIN_S = 1.0
#: _IOW('E', 0xa0, int)
EVIOCSCLOCKID = 0x400445A0
MAX_EVENTS = 64

Note = Callable[[], Awaitable[object]]


async def watch_button(path: Path, note: Note) -> None:
    """Run `note` after each hold of five seconds; what it raises as PraxisError is told to the journal."""
    missing = False
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            if not missing:
                say("button_missing", priority="warning")
            missing = True
        else:
            missing = False
            with os.fdopen(descriptor, "rb", buffering=0) as device:
                await _read(device.fileno(), note)
        await asyncio.sleep(LOOK_AGAIN_S)


async def _read(descriptor: int, note: Note) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, EVIOCSCLOCKID, struct.pack("@i", time.CLOCK_MONOTONIC))
    holding = Holding()
    while True:
        await _readable(descriptor)
        try:
            data = os.read(descriptor, EVENT.size * MAX_EVENTS)
        except BlockingIOError:
            continue
        except OSError:  # the device was taken away
            return
        if not data or len(data) % EVENT.size:
            return
        for event in read_events(data):
            if holding.note(event):
                try:
                    await note()
                except PraxisError:
                    say("presence_not_noted", priority="warning")


async def _readable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
