"""Patients inside the control connection: what a portal does there ends its session at most, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from appliance.core.errors import Invalid
from appliance.formats.yamux import INITIAL_WINDOW_BYTES, Session
from appliance.tunnel.slots import Slots
from appliance.tunnel.status import Status
from appliance.tunnel.streams import PatientStreams

PING = bytes([0, 2, 0, 1]) + bytes(8)  # a ping that asks for an answer (yamux, spec.md)


async def test_a_portal_that_reads_no_answers_ends_its_session_and_not_the_process() -> None:
    """The window's grant finds no place among answers to pings; it is due when gateway reads, in nobody's call."""
    bugs: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))
    given: list[socket.socket] = []

    async def hand_over(sock: socket.socket) -> None:
        given.append(sock.dup())

    portal, box = Session("server"), Session("client", max_streams=4)
    patients = PatientStreams(hand_over, Slots(4), Status(0), max_streams=4, stall_s=60.0)
    patients.attach(box, lambda: None)
    running = asyncio.ensure_future(patients.run())
    await asyncio.sleep(0)

    def hear(data: bytes) -> None:
        for event in box.receive(data):
            patients.take(event)

    stream = portal.open_stream()
    portal.send(stream, bytes(INITIAL_WINDOW_BYTES))
    while data := portal.bytes_to_send():
        hear(data)
    portal.receive(box.bytes_to_send())
    while not given:
        await asyncio.sleep(0)
    with contextlib.suppress(Invalid):
        for _ in range(10_000):
            hear(PING)
    with given[0] as gateway:
        gateway.setblocking(False)
        async with asyncio.timeout(5):
            while not running.done():
                with contextlib.suppress(BlockingIOError):
                    gateway.recv(65536)
                await asyncio.sleep(0)
    with pytest.raises(BaseExceptionGroup) as ended:
        await running
    assert ended.group_contains(Invalid, match="yamux_flood")
    assert not bugs
