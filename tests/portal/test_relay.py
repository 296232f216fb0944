"""Patients' connections: equal bytes, half-close, the right box and no other, nobody held up by a stalled one."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import socket
import ssl
from pathlib import Path

import pytest

from appliance.formats import tunnel_control as control
from appliance.formats.proxy_header import encode_proxy_header
from provisioning.portal.copying import Copy
from provisioning.portal.portal import Portal
from tests.portal.simulated_box import (
    PORTAL_NAME,
    Mode,
    SimulatedBox,
    client_hello,
    control_client,
    dial_with,
    dial_wrapped,
    patient_tls,
    portal_in,
    read_to_end,
)

MEGABYTES = random.Random(3).randbytes(6 * 1024 * 1024 + 17)
OTHER_MEGABYTES = random.Random(4).randbytes(5 * 1024 * 1024 + 3)
MODES: list[Mode] = ["raw", "wrapped", "streams"]
in_every_mode = pytest.mark.parametrize("mode", MODES)


async def dial(portal: Portal, first_bytes: bytes) -> socket.socket:
    return await dial_with(("127.0.0.1", portal.port), first_bytes)


@pytest.mark.parametrize("mode", ["raw", "streams"])  # TLS cannot end one direction
async def test_every_byte_arrives_both_ways_and_half_close_passes_through(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()
    arrived = loop.create_future()

    async def read_all_then_answer(sock: socket.socket) -> None:
        arrived.set_result(await read_to_end(sock))  # ends by the patient's half-close
        await loop.sock_sendall(sock, OTHER_MEGABYTES)

    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, read_all_then_answer, mode):
            hello = client_hello(box.host_name)
            with contextlib.closing(await dial(portal, hello)) as patient:
                await loop.sock_sendall(patient, MEGABYTES)
                patient.shutdown(socket.SHUT_WR)
                assert await arrived == hello + MEGABYTES
                assert await read_to_end(patient) == OTHER_MEGABYTES
        assert portal.counts.relayed_bytes == len(hello) + len(MEGABYTES) + len(OTHER_MEGABYTES)


@in_every_mode
async def test_a_patients_tls_ends_in_the_box(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, mode=mode):
            reader, writer = await patient_tls(portal.port, box)
            assert await reader.readline() == box.host_name.encode() + b"\n"
            receiving = asyncio.ensure_future(reader.readexactly(len(MEGABYTES)))
            writer.write(MEGABYTES)
            await writer.drain()
            assert await receiving == MEGABYTES
            writer.close()


async def read_hosts_name(portal: Portal, box: SimulatedBox) -> None:
    reader, writer = await patient_tls(portal.port, box)
    assert await reader.readline() == box.host_name.encode() + b"\n"
    writer.close()


@in_every_mode
async def test_two_boxes_never_cross(tmp_path: Path, mode: Mode) -> None:
    boxes = [SimulatedBox(tmp_path), SimulatedBox(tmp_path)]

    async def visit(portal: Portal, box: SimulatedBox) -> None:
        reader, writer = await patient_tls(portal.port, box)
        assert await reader.readline() == box.host_name.encode() + b"\n"
        sent = box.box * 4096
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()

    async with portal_in(tmp_path) as portal:
        for box in boxes:
            portal.registry.register(box.record())
        async with boxes[0].serve(portal, mode=mode), boxes[1].serve(portal, mode=mode), asyncio.TaskGroup() as group:
            for visitor in range(24):
                group.create_task(visit(portal, boxes[visitor % 2]))


async def test_a_box_that_is_away_gets_no_other_boxs_patients(tmp_path: Path) -> None:
    here, away = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(here.record())
        portal.registry.register(away.record())
        async with here.serve(portal):
            with contextlib.closing(await dial(portal, client_hello(away.host_name))) as patient:
                assert await read_to_end(patient) == b""
            assert portal.counts.absent_boxes == 1
            assert portal.counts.relays == 0


@in_every_mode
async def test_a_stalled_reader_does_not_block_another(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()

    async def pour(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for _ in range(64):
                await loop.sock_sendall(sock, MEGABYTES)

    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, pour, mode):
            hello = client_hello(box.host_name)
            stalled = [await dial(portal, hello) for _ in range(8)]
            with contextlib.closing(await dial(portal, hello)) as live:
                received = 0
                while received < 3 * len(MEGABYTES):
                    received += len(await loop.sock_recv(live, 1 << 20))
            copied = [relay for relay in portal.patients._relays if isinstance(relay, Copy)]
            assert len(copied) == (0 if mode == "raw" else 9)
            assert all(relay.waiting_bytes <= 256 * 1024 for relay in copied)
            assert mode == "raw" or sum(relay.waiting_bytes > 0 for relay in copied) >= 8
            for patient in stalled:
                patient.close()


@in_every_mode
async def test_bytes_stuck_in_one_relay_never_reach_another(tmp_path: Path, mode: Mode) -> None:
    """A patient leaves while its pipe is full; the next one must get its own bytes from the first on."""
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()
    answers = iter([b"A" * (8 << 20), *[b"B" * 100_000] * 12])

    async def answer(sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            await loop.sock_recv(sock, 65536)  # closing with unread bytes would be a reset
            await loop.sock_sendall(sock, next(answers))

    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, answer, mode):
            hello = client_hello(box.host_name)
            with contextlib.closing(await dial(portal, hello)) as leaving:
                assert await loop.sock_recv(leaving, 1) == b"A"
            for _ in range(12):
                with contextlib.closing(await dial(portal, hello)) as patient:
                    assert await read_to_end(patient) == b"B" * 100_000


@in_every_mode
async def test_the_box_learns_each_patients_address(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, mode=mode):
            reader, writer = await patient_tls(portal.port, box)
            await reader.readline()
            assert box.sources == [(ipaddress.ip_address("127.0.0.1"), writer.get_extra_info("sockname")[1])]
            writer.close()


@in_every_mode
async def test_a_box_that_breaks_off_ends_the_patients_connection(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()

    async def say_and_leave(sock: socket.socket) -> None:
        await loop.sock_recv(sock, 65536)
        await loop.sock_sendall(sock, MEGABYTES)

    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, say_and_leave, mode):
            with contextlib.closing(await dial(portal, client_hello(box.host_name))) as patient:
                assert await read_to_end(patient) == MEGABYTES


@pytest.mark.parametrize("wrapped", [False, True], ids=["raw", "wrapped"])
async def test_a_probe_is_answered_and_spends_its_token(tmp_path: Path, wrapped: bool) -> None:
    box = SimulatedBox(tmp_path)

    async def ask(portal: Portal, first_bytes: bytes) -> bytes:
        if not wrapped:
            with contextlib.closing(await dial(portal, first_bytes)) as probe:
                return await read_to_end(probe)
        reader, writer = await dial_wrapped(portal, first_bytes)
        with contextlib.closing(writer):
            return await reader.read()

    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            await box.log_in(client)
            order = await client.hear()
            assert isinstance(order, control.Open)
            assert await ask(portal, control.encode_work_preface(order.token, probe=True)) == encode_proxy_header(
                None
            )
            assert await ask(portal, control.encode_work_preface(order.token, probe=True)) == b""
            assert await ask(portal, control.encode_work_preface(order.token)) == b""
            assert portal.counts.tokens_refused == 2
            for _ in range(4):  # three that were ordered before, and the fresh one
                assert isinstance(await client.hear(), control.Open)


async def test_a_wrapped_connection_without_a_good_token_is_closed_without_a_word(tmp_path: Path) -> None:
    async with portal_in(tmp_path) as portal:
        for first_bytes in (b"PXW1" + bytes(16), b"PXP1" + bytes(16), b"PXW1" + bytes(17)):
            reader, writer = await dial_wrapped(portal, first_bytes)
            with contextlib.closing(writer):
                assert await reader.read() == b""


async def test_a_wrapped_connection_that_speaks_before_its_patient_is_none(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            await box.log_in(client)
            order = await client.hear()
            assert isinstance(order, control.Open)
            reader, writer = await dial_wrapped(portal, control.encode_work_preface(order.token) + b"x")
            with contextlib.closing(writer):
                assert await reader.read() == b""
            assert portal.counts.malformed == 1


async def test_a_wrapped_connection_that_stops_in_its_preface_is_hung_up_on(tmp_path: Path) -> None:
    async with portal_in(tmp_path, handshake_timeout_s=0.1) as portal:
        reader, writer = await dial_wrapped(portal, b"PXW")
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            assert await reader.read() == b""


@pytest.mark.parametrize(
    "first_bytes",
    [
        client_hello("praxis-00000000.localhost"),  # no such box
        client_hello(None),
        b"GET / HTTP/1.1\r\nHost: praxis-portal.localhost\r\n\r\n",
        b"PXW1" + bytes(16),  # a token nobody issued
        b"PXW2" + bytes(16),
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x00\x05\x02\x00\x00\x00\x00",
        bytes(20_000),
    ],
    ids=["unknown", "no_name", "http", "token", "prefix", "ssh", "server_hello", "zeros"],
)
async def test_anything_else_is_closed_without_a_word(tmp_path: Path, first_bytes: bytes) -> None:
    async with portal_in(tmp_path) as portal:
        with contextlib.closing(await dial(portal, first_bytes)) as stranger:
            assert await read_to_end(stranger) == b""


async def test_a_connection_that_says_nothing_is_closed_in_time(tmp_path: Path) -> None:
    async with portal_in(tmp_path, handshake_timeout_s=0.1) as portal:
        for beginning in (b"", b"PX", client_hello("praxis-00000000.localhost")[:50]):
            with contextlib.closing(await dial(portal, beginning)) as silent:
                assert await read_to_end(silent) == b""
        assert portal.counts.timeouts == 3


async def test_a_visitor_of_the_portals_own_name_who_asks_nothing_is_hung_up_on(tmp_path: Path) -> None:
    async with portal_in(tmp_path, handshake_timeout_s=0.3) as portal:
        context = ssl.create_default_context(cafile=str(portal.authority_path))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", portal.port, ssl=context, server_hostname=PORTAL_NAME
        )
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        assert portal.counts.timeouts == 1


async def test_a_logged_in_box_is_not_taken_for_such_a_visitor(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal):
            assert portal.own.tidy(now=1e9) == 0
            await read_hosts_name(portal, box)


async def test_a_client_hello_in_single_bytes_is_routed(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()

    async def echo_once(sock: socket.socket) -> None:
        await loop.sock_sendall(sock, await loop.sock_recv(sock, 65536))

    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, echo_once):
            hello = client_hello(box.host_name)
            with contextlib.closing(await dial(portal, hello[:1])) as patient:
                patient.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for position in range(1, len(hello)):
                    await loop.sock_sendall(patient, hello[position : position + 1])
                    await asyncio.sleep(0)
                assert await loop.sock_recv(patient, 65536) == hello


@in_every_mode
async def test_more_patients_than_spares_are_all_served(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, mode=mode):
            patients = await asyncio.gather(*(patient_tls(portal.port, box) for _ in range(16)))
            for reader, writer in patients:
                assert await reader.readline() == box.host_name.encode() + b"\n"
                writer.close()


@in_every_mode
async def test_a_relay_without_a_byte_for_the_idle_time_ends(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)

    async def keep_silent(sock: socket.socket) -> None:
        await read_to_end(sock)

    async with portal_in(tmp_path, idle_timeout_s=0.05) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, keep_silent, mode):
            with contextlib.closing(await dial(portal, client_hello(box.host_name))) as patient:
                assert await read_to_end(patient) == b""
