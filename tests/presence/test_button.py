"""A button that is held, by the kernel's own events: what counts, what does not, and how it reaches vault."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from appliance.core.errors import Unavailable
from appliance.presence import watching
from appliance.presence.button import (
    EV_KEY,
    EV_SYN,
    EVENT,
    KEY_POWER,
    KEY_RESTART,
    SYN_DROPPED,
    Event,
    Holding,
    read_events,
)

KEY_A, REPEATED = 30, 2


def key(at_s: float, value: int, code: int = KEY_POWER) -> Event:
    return Event(at_s, EV_KEY, code, value)


def said(*events: Event) -> list[bool]:
    holding = Holding()
    return [holding.note(event) for event in events]


def packed(*events: Event) -> bytes:
    return b"".join(
        EVENT.pack(int(event.at_s), round(event.at_s % 1 * 1e6), event.kind, event.code, event.value)
        for event in events
    )


@pytest.mark.parametrize("code", [KEY_POWER, KEY_RESTART])
def test_five_seconds_count_and_less_does_not(code):
    assert said(key(10, 1, code), key(15, 0, code)) == [False, True]
    assert said(key(10, 1, code), key(14.99, 0, code)) == [False, False]


def test_a_hold_is_said_once_however_often_the_key_repeats():
    assert said(key(0, 1), key(1, REPEATED), key(5, REPEATED), key(6, REPEATED), key(7, 0)) == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_two_short_presses_and_two_keys_are_no_hold():
    assert not any(said(key(0, 1), key(1, 0), key(6, 1), key(7, 0)))
    assert not any(said(key(0, 1), key(7, 0, KEY_RESTART)))


def test_another_key_and_a_release_without_a_press_are_nothing():
    assert not any(said(key(0, 1, KEY_A), key(9, 0, KEY_A), key(20, 0)))


def test_events_that_the_kernel_lost_may_have_been_a_release():
    assert not any(said(key(0, 1), Event(1, EV_SYN, SYN_DROPPED, 0), key(9, 0)))


def test_an_event_is_what_linux_input_h_says():
    data = (12).to_bytes(8, "little") + (500_000).to_bytes(8, "little") + bytes.fromhex("0100 7400 01000000")
    assert list(read_events(data)) == [Event(12.5, EV_KEY, KEY_POWER, 1)]


@contextlib.asynccontextmanager
async def watched(path: Path, note: object):
    task = asyncio.create_task(watching.watch_button(path, note))  # type: ignore[arg-type]
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def press(path: Path, *events: Event) -> None:
    """Write events as the test's stand-in for the kernel; opening waits for the reader.

    For one press: a reader that has just seen the end of the one before may close upon what is written next.
    """
    await asyncio.to_thread(path.write_bytes, packed(*events))


async def test_a_hold_reaches_vault_and_one_that_vault_does_not_hear_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "LOOK_AGAIN_S", 0.01)
    path, heard = tmp_path / "button", asyncio.Queue()
    os.mkfifo(path)

    async def note() -> None:
        heard.put_nowait(None)
        if heard.qsize() == 1:
            raise Unavailable("peer_away")

    button = os.open(path, os.O_RDWR)  # never at an end, as a device is not
    try:
        async with watched(path, note), asyncio.timeout(20):
            os.write(button, packed(key(0, 1), key(6, 0)))
            while heard.qsize() < 1:
                await asyncio.sleep(0)
            os.write(button, packed(key(10, 1), key(12, 0), key(20, 1), Event(20, EV_SYN, 0, 0), key(25, 0)))
            while heard.qsize() < 2:
                await asyncio.sleep(0)
    finally:
        os.close(button)
    assert heard.qsize() == 2


async def test_a_button_that_comes_later_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "LOOK_AGAIN_S", 0.01)
    path, missing, heard = tmp_path / "button", asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(watching, "say", lambda *_, **__: missing.set())

    async def note() -> None:
        heard.set()

    async with watched(path, note), asyncio.timeout(20):
        await missing.wait()
        os.mkfifo(path)
        await press(path, key(0, 1), key(5, 0))
        await heard.wait()
