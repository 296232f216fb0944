from __future__ import annotations

import asyncio
import os
import socket
import ssl
from pathlib import Path

import pytest

from appliance.core.errors import Invalid, Unavailable
from appliance.gateway.connections import checked_socket
from tests.gateway.conftest import connect, read_answer
from tests.simulators.patient_side import HOST, PatientSide, run_patient_side


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def test_a_connected_tcp_socket_is_taken() -> None:
    client, server = pair()
    with client, checked_socket(server.detach()) as sock:
        assert sock.getpeername() == client.getsockname()


@pytest.mark.parametrize("what", ["file", "pipe", "listener", "unconnected", "udp", "unix datagrams", "unix packets"])
def test_any_other_descriptor_is_refused_and_closed(what: str) -> None:
    def make() -> int:
        match what:
            case "file":
                return os.open(__file__, os.O_RDONLY)
            case "pipe":
                return os.pipe()[0]
            case "listener":
                return socket.create_server(("127.0.0.1", 0)).detach()
            case "unconnected":
                return socket.socket().detach()
            case "udp":
                udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                udp.connect(("127.0.0.1", 9))
                return udp.detach()
            case "unix datagrams":
                return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].detach()
            case _:
                return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)[0].detach()

    descriptor = make()
    with pytest.raises(Invalid):
        checked_socket(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_a_full_gateway_says_so_and_takes_again_when_one_leaves(tmp_path: Path) -> None:
    async with run_patient_side(tmp_path, max_connections=1) as side:
        _, first = await connect(side)
        client, server = pair()
        with client, pytest.raises(Unavailable, match="full"):
            side.connections.take(server.detach())
        first.close()
        await first.wait_closed()
        for _ in range(100):
            try:
                _, again = await connect(side)
                break
            except (OSError, ssl.SSLError):
                await asyncio.sleep(0)
        again.close()


async def test_a_connection_that_asks_nothing_is_closed(tmp_path: Path) -> None:
    async with run_patient_side(tmp_path, idle_timeout_s=0.05) as side:
        reader, writer = await connect(side)
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}".encode())  # and never more
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01 not http\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: <script>alert(1)</script>\r\nContent-Length: x\r\n\r\n",
    ],
)
async def test_what_is_no_proper_request_gets_an_empty_answer(side: PatientSide, raw: bytes) -> None:
    reader, writer = await connect(side)
    writer.write(raw)
    answer = await read_answer(reader)
    assert (answer.status, answer.body) == (400, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert await reader.read() == b""
    writer.close()


async def test_only_tls_1_3_and_only_this_name(side: PatientSide) -> None:
    context = side.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", side.port, ssl=context, server_hostname=HOST)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(side, host="other.localhost")


async def test_no_ticket_lets_a_carrier_recognise_a_browser(side: PatientSide) -> None:
    reader, writer = await connect(side)
    writer.write(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    await read_answer(reader)
    session = writer.get_extra_info("ssl_object").session
    assert session is None or not session.has_ticket
    writer.close()
