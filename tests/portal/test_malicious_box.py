"""A box that proved itself and then does what none may: its session ends, the portal and the others go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path
from typing import cast

import pytest

from appliance.formats import tunnel_control as control
from appliance.formats.yamux import (
    HEADER,
    INITIAL_WINDOW_BYTES,
    MAX_CONTROL_FRAMES,
    PIECE_BYTES,
    RST,
    SYN,
    FrameType,
)
from provisioning.portal.connection import ControlConnection, Conversation
from provisioning.portal.portal import Portal
from provisioning.portal.websocket import Opcode, encode_frame
from tests.portal.simulated_box import (
    ControlClient,
    SimulatedBox,
    client_hello,
    control_client,
    dial_with,
    patient_tls,
    portal_in,
    read_to_end,
)
from tests.portal.test_drain import receive_exactly
from tests.portal.test_websocket import masked

PATHS = [control.CONTROL_PATH, control.STREAMS_PATH]
on_every_path = pytest.mark.parametrize("path", PATHS)


def frame(kind: FrameType, flags: int, stream: int, length: int, data: bytes = b"") -> bytes:
    return HEADER.pack(0, kind, flags, stream, length) + data


async def until_hung_up(client: ControlClient) -> None:
    with contextlib.suppress(ConnectionError):
        while await client.hear() is not None:
            pass


async def others_are_served(portal: Portal, other: SimulatedBox) -> None:
    reader, writer = await patient_tls(portal.port, other)
    assert await reader.readline() == other.host_name.encode() + b"\n"
    writer.close()


@on_every_path
@pytest.mark.parametrize(
    "said",
    [
        control.Nonce(b"n" * 32),
        control.Prove(b"b" * 16, b"s" * 64),
        control.Accepted(),
        control.Refused(),
        control.Open(b"t" * 16),
        control.Pong(7),
    ],
    ids=lambda said: type(said).__name__,
)
async def test_a_box_may_say_ping_pong_and_checkpoint_only(tmp_path: Path, path: str, said: control.Frame) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, path) as client:
            await box.log_in(client)
            await client.say(control.Ping(1), control.Checkpoint(1, 2, b"r" * 32, b"s" * 64))
            while (heard := await client.hear()) != control.Pong(1):
                assert heard is not None
            assert portal.counts.checkpoints == 1
            await client.say(said)
            await until_hung_up(client)
        assert portal.boxes.get(box.box) is None
        assert portal.counts.malformed == 1


async def test_over_streams_the_portal_orders_nothing(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, control.STREAMS_PATH) as client:
            await box.log_in(client)
            portal.boxes.tidy(asyncio.get_running_loop().time() + 16)
            assert await client.hear() == control.Ping(1)
            stray = await dial_with(("127.0.0.1", portal.port), control.encode_work_preface(b"t" * 16))
            with contextlib.closing(stray):
                assert await read_to_end(stray) == b""


@on_every_path
@pytest.mark.parametrize(
    "wire",
    [
        frame(FrameType.WINDOW_UPDATE, SYN, 2, 0),  # an even number is the portal's
        frame(FrameType.WINDOW_UPDATE, SYN, 1, 0),  # opened twice
        frame(FrameType.DATA, 0, 1, 1 << 20),  # more than the window
        frame(FrameType.WINDOW_UPDATE, 0, 1, 0xFFFFFFFF),
        struct.pack(">BBHII", 1, 0, 0, 1, 0),
        b"\xff" * 64,
    ],
    ids=["even", "twice", "window", "grant", "version", "noise"],
)
async def test_broken_yamux_ends_the_session(tmp_path: Path, path: str, wire: bytes) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, path) as client:
            await box.log_in(client)
            await client.say_bytes(wire)
            await until_hung_up(client)
        assert portal.boxes.get(box.box) is None


async def test_a_box_opens_no_streams_beside_its_first(tmp_path: Path) -> None:
    """Patients' streams are the portal's to open: on STREAMS_PATH one more ends the session, on CONTROL_PATH it is reset."""
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, control.STREAMS_PATH) as client:
            await box.log_in(client)
            await client.say_bytes(frame(FrameType.WINDOW_UPDATE, SYN, 3, 0))
            await until_hung_up(client)
        assert portal.counts.malformed == 1


@on_every_path
async def test_a_flood_of_streams_ends_the_session_and_costs_nobody_else(tmp_path: Path, path: str) -> None:
    box, other = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        for each in (box, other):
            portal.registry.register(each.record())
        async with other.serve(portal), control_client(portal.port, portal.authority_path, path) as client:
            await box.log_in(client)
            flood = b"".join(frame(FrameType.WINDOW_UPDATE, SYN, number, 0) for number in range(3, 8003, 2))
            with contextlib.suppress(ConnectionError):
                for position in range(0, len(flood), 48_000):
                    await client.say_bytes(flood[position : position + 48_000])
            await until_hung_up(client)
            await others_are_served(portal, other)
        assert portal.boxes.get(box.box) is None


@on_every_path
async def test_a_flood_of_pings_by_a_box_that_reads_nothing_ends_the_session(tmp_path: Path, path: str) -> None:
    box, other = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        for each in (box, other):
            portal.registry.register(each.record())
        async with other.serve(portal), control_client(portal.port, portal.authority_path, path) as client:
            await box.log_in(client)
            pings = frame(FrameType.PING, SYN, 0, 7) * 4000
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(20):
                    while portal.boxes.get(box.box) is not None:
                        await client.say_bytes(pings)
            await others_are_served(portal, other)
            assert portal.boxes.get(box.box) is None


@pytest.mark.parametrize(("path", "length"), [(PATHS[0], 65_537), (PATHS[1], (1 << 20) + 1)])
async def test_an_oversize_message_ends_the_session(tmp_path: Path, path: str, length: int) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, path) as client:
            await box.log_in(client)
            with contextlib.suppress(ConnectionError):
                await client.say_bytes(frame(FrameType.PING, SYN, 0, 1) + bytes(length - HEADER.size))
            await until_hung_up(client)
        assert portal.counts.malformed == 1


async def test_a_box_that_resets_a_patients_stream_ends_that_patient_only(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, control.STREAMS_PATH) as client:
            await box.log_in(client)
            hello = client_hello(box.host_name)
            first = await dial_with(("127.0.0.1", portal.port), hello)
            second = await dial_with(("127.0.0.1", portal.port), hello)
            with contextlib.closing(first), contextlib.closing(second):
                while portal.counts.relays_now < 2:
                    await asyncio.sleep(0.01)
                await client.say_bytes(frame(FrameType.WINDOW_UPDATE, RST, 2, 0))
                await client.say_bytes(frame(FrameType.DATA, 0, 4, 2, b"ok"))
                assert await asyncio.get_running_loop().sock_recv(second, 10) == b"ok"
                assert await read_to_end(first) == b""
                assert portal.counts.relays_now == 1


async def test_a_stream_is_sent_in_pieces_that_take_turns(tmp_path: Path) -> None:
    """A patient who uploads much holds nobody up: behind each piece of it the other one has its turn."""
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, control.STREAMS_PATH) as client:
            await box.log_in(client)
            order: list[tuple[int, int]] = []
            client.on_stream = lambda event: order.append((event.stream, len(getattr(event, "data", b""))))
            large = await dial_with(("127.0.0.1", portal.port), client_hello(box.host_name))
            small = await dial_with(("127.0.0.1", portal.port), client_hello(box.host_name))
            with contextlib.closing(large), contextlib.closing(small):
                while portal.counts.relays_now < 2:
                    await asyncio.sleep(0.01)
                pouring = asyncio.ensure_future(loop.sock_sendall(large, bytes(200_000)))
                await loop.sock_sendall(small, b"small")
                hearing = asyncio.ensure_future(client.hear())
                async with asyncio.timeout(10):
                    await pouring
                    while (4, 5) not in order and not any(stream == 4 and size >= 5 for stream, size in order):
                        await asyncio.sleep(0.01)
                hearing.cancel()
            assert max(size for _, size in order) <= PIECE_BYTES


async def streams_patient(portal: Portal, box: SimulatedBox) -> socket.socket:
    """Dial as a patient of a box over streams, and wait until the stream stands."""
    patient = await dial_with(("127.0.0.1", portal.port), client_hello(box.host_name))
    while not portal.counts.relays_now:
        await asyncio.sleep(0.01)
    return patient


async def test_a_full_row_of_answers_ends_the_box_that_filled_it_when_its_patient_reads_on(tmp_path: Path) -> None:
    """The grant for what the patient took finds no place in the row: that is the box's doing, and costs only the box."""
    box, other = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        for each in (box, other):
            portal.registry.register(each.record())
        async with (
            other.serve(portal),
            control_client(portal.port, portal.authority_path, control.STREAMS_PATH) as client,
        ):
            await box.log_in(client)
            with contextlib.closing(await streams_patient(portal, box)) as patient:
                almost = INITIAL_WINDOW_BYTES // 2 - 1  # one byte more, and window is granted
                await client.say_bytes(frame(FrameType.DATA, 0, 2, almost, bytes(almost)))
                assert await receive_exactly(patient, almost) == almost
                pings = frame(FrameType.PING, SYN, 0, 7) * MAX_CONTROL_FRAMES
                await client.say_bytes(frame(FrameType.DATA, 0, 2, 1, b"x") + pings)
                await until_hung_up(client)
            await others_are_served(portal, other)
        assert portal.counts.malformed == 1


@pytest.mark.parametrize("comes", ["the drain", "a newcomer", "a patient's end"])
async def test_whoever_comes_upon_a_full_row_of_answers_ends_the_box_and_nothing_else(
    tmp_path: Path, comes: str
) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, drain_limit_s=30.0) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path, control.STREAMS_PATH) as client:
            await box.log_in(client)
            with contextlib.closing(await streams_patient(portal, box)) as patient:
                login = portal.boxes.get(box.box)
                assert login is not None
                connection = cast(ControlConnection, login._control)
                connection.pause_writing()  # as the transport says while nothing is read
                connection._session.receive(frame(FrameType.PING, SYN, 0, 7) * MAX_CONTROL_FRAMES)
                async with asyncio.timeout(10):
                    match comes:
                        case "the drain":
                            await portal.drain()
                        case "a newcomer":
                            newcomer = await dial_with(("127.0.0.1", portal.port), client_hello(box.host_name))
                            with contextlib.closing(newcomer):
                                assert await read_to_end(newcomer) == b""
                        case _:
                            patient.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                            patient.close()  # a reset
                    while portal.counts.boxes_now or portal.counts.relays_now:
                        await asyncio.sleep(0.01)
        assert portal.counts.malformed == 1


class HeldTransport:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def set_write_buffer_limits(self, high: int) -> None: ...
    def set_protocol(self, protocol: asyncio.Protocol) -> None: ...


def test_websocket_pings_of_a_box_that_reads_nothing_do_not_pile_up() -> None:
    """Only the last ping is answered once there is room (RFC 6455 5.5.3)."""
    transport = HeldTransport()
    connection = ControlConnection(cast(asyncio.Transport, transport), cast(Conversation, None), 0)
    connection.pause_writing()
    for number in range(1000):
        connection.data_received(masked(0x89, number.to_bytes(125, "big")))
    assert transport.written == []
    connection.resume_writing()
    assert transport.written == [encode_frame(Opcode.PONG, (999).to_bytes(125, "big"))]
    connection.data_received(masked(0x89, b"") + masked(0x89, b"again"))
    assert transport.written[1:] in (
        [encode_frame(Opcode.PONG, b"again")],
        [encode_frame(Opcode.PONG, b""), encode_frame(Opcode.PONG, b"again")],
    )
