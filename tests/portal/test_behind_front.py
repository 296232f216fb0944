"""The listener behind a front: it believes PROXY headers, and it alone; the portal's TLS may have ended before it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest

from appliance.core.errors import Invalid
from appliance.formats import tunnel_control as control
from appliance.formats.proxy_header import encode_proxy_header
from provisioning.portal.authority import FrontCertificate
from provisioning.portal.first_bytes import PlainHttp, read_first_bytes, read_first_bytes_behind_front
from tests.portal.simulated_box import (
    PORTAL_NAME,
    Mode,
    RunningPortal,
    SimulatedBox,
    client_hello,
    control_client,
    dial_with,
    portal_in,
    read_to_end,
)

PATIENT = ("203.0.113.7", 40_000)
HEADER = encode_proxy_header(PATIENT)


async def say_nothing(sock: object) -> None:
    """Stand at the end of a work connection."""


def test_behind_a_front_http_is_told_from_a_token_by_its_first_bytes() -> None:
    for request in (b"GET / HTTP/1.1", b"POST /devices", b"PO", b"G"):
        assert read_first_bytes_behind_front(request) == PlainHttp()
    assert read_first_bytes_behind_front(b"P") is None
    preface = control.encode_work_preface(b"t" * 16)
    assert read_first_bytes_behind_front(preface) == control.WorkPreface(b"t" * 16)
    with pytest.raises(Invalid):
        read_first_bytes(b"GET / HTTP/1.1")
    with pytest.raises(Invalid):
        read_first_bytes_behind_front(b"get /")


async def test_the_box_learns_the_address_that_the_front_says(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, front_listen_port=0) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, say_nothing):
            hello = client_hello(box.host_name)
            for header in (HEADER, encode_proxy_header(("2001:db8::9", 5)), encode_proxy_header(None)):
                first = await dial_with(("127.0.0.1", portal.front_port), header + hello)
                with contextlib.closing(first) as patient:
                    await read_to_end(patient)
            assert box.sources == [
                (ipaddress.ip_address("203.0.113.7"), 40_000),
                (ipaddress.ip_address("2001:db8::9"), 5),
                None,
            ]


async def test_the_public_listener_believes_no_header(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, front_listen_port=0) as portal:
        portal.registry.register(box.record())
        async with box.serve(portal, say_nothing):
            liar = await dial_with(("127.0.0.1", portal.port), HEADER + client_hello(box.host_name))
            with contextlib.closing(liar):
                assert await read_to_end(liar) == b""
            assert box.sources == []
            assert portal.counts.malformed == 1


@pytest.mark.parametrize(
    "first_bytes",
    [
        client_hello("a.example"),
        b"GET /health HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\x00",
        b"PROXY TCP4",
    ],
    ids=["hello", "http", "udp", "version_1"],
)
async def test_behind_a_front_nothing_is_served_without_a_header(tmp_path: Path, first_bytes: bytes) -> None:
    async with portal_in(tmp_path, front_listen_port=0) as portal:
        with contextlib.closing(await dial_with(("127.0.0.1", portal.front_port), first_bytes)) as stranger:
            assert await read_to_end(stranger) == b""
        assert portal.counts.malformed == 1


async def test_limits_per_address_count_whom_the_front_names(tmp_path: Path) -> None:
    async with portal_in(tmp_path, front_listen_port=0, max_connections_per_address=1) as portal:
        address = ("127.0.0.1", portal.front_port)
        with contextlib.closing(await dial_with(address, HEADER + b"P")):
            with contextlib.closing(await dial_with(address, HEADER + b"P")) as second:
                assert await read_to_end(second) == b""
            other = encode_proxy_header(("203.0.113.8", 1)) + b"PXW1" + bytes(16)
            with contextlib.closing(await dial_with(address, other)) as another:
                await read_to_end(another)
        assert (portal.counts.over_limit, portal.counts.tokens_refused) == (1, 1)


async def test_a_box_logs_in_through_a_front_that_passes_tls_on(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path, front_listen_port=0) as portal, passing_front(portal.front_port) as port:
        portal.registry.register(box.record())
        async with control_client(port, portal.authority_path) as client:
            assert await box.log_in(client) == control.Accepted()


@pytest.mark.parametrize("mode", ["raw", "wrapped", "streams"])
async def test_every_byte_arrives_through_a_front_that_passes_tls_on(tmp_path: Path, mode: Mode) -> None:
    box = SimulatedBox(tmp_path)
    loop = asyncio.get_running_loop()
    sent = bytes(range(256)) * 4096

    async def download(sock: socket.socket) -> None:
        await loop.sock_recv(sock, 65536)  # closing with unread bytes would be a reset
        await loop.sock_sendall(sock, sent)

    async with portal_in(tmp_path, front_listen_port=0) as portal, passing_front(portal.front_port) as port:
        portal.registry.register(box.record())
        async with box.serve(RunningPortal(port, portal.authority_path), download, mode):
            with contextlib.closing(await dial_with(("127.0.0.1", port), client_hello(box.host_name))) as patient:
                assert await read_to_end(patient) == sent
        assert portal.counts.relays == 1


@contextlib.asynccontextmanager
async def passing_front(port: int, context: ssl.SSLContext | None = None):  # type: ignore[no-untyped-def]
    """Stand where HAProxy stands: say who comes, pass the bytes on; with `context` the TLS ends here."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        inner_writer.write(encode_proxy_header(writer.get_extra_info("peername")[:2]))
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    server = await asyncio.start_server(front, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def own_tls(state: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(state / "portal.pem", state / "portal.key")
    return context


async def test_the_proof_names_the_certificate_of_a_front_that_ends_the_tls(tmp_path: Path) -> None:
    async with portal_in(tmp_path):  # makes the certificate that the front will show
        pass
    state, box = tmp_path / "portal", SimulatedBox(tmp_path)
    settings = {"front_listen_port": 0, "front_certificate": str(state / "portal.pem")}
    async with (
        portal_in(tmp_path, **settings) as portal,
        passing_front(portal.front_port, own_tls(state)) as port,
    ):
        portal.registry.register(box.record())
        async with control_client(port, portal.authority_path) as client:
            assert await box.log_in(client) == control.Accepted()
        async with control_client(port, portal.authority_path, control.STREAMS_PATH) as client:
            client.certificate_sha256 = b"m" * 32
            assert await box.log_in(client) == control.Refused()


async def test_where_nobody_knows_the_certificate_no_box_logs_in(tmp_path: Path) -> None:
    async with portal_in(tmp_path, front_listen_port=0) as portal:
        key = base64.b64encode(b"k" * 16).decode()
        request = (
            f"GET {control.CONTROL_PATH} HTTP/1.1\r\nHost: {PORTAL_NAME}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        loop = asyncio.get_running_loop()
        with contextlib.closing(await dial_with(("127.0.0.1", portal.front_port), HEADER + request.encode())) as sock:
            assert (await loop.sock_recv(sock, 4096)).startswith(b"HTTP/1.1 503 ")


def test_a_renewed_certificate_of_the_front_is_read_again(tmp_path: Path) -> None:
    first, second = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    for box in (first, second):
        box.page_context()
    path = tmp_path / "front.pem"
    path.write_bytes(first.certificate_path.read_bytes())
    front = FrontCertificate(path)
    before = front.sha256()
    path.unlink()
    path.write_bytes(second.certificate_path.read_bytes())
    assert front.sha256() != before
    path.write_bytes(b"no certificate")
    with pytest.raises(Invalid):
        FrontCertificate(path)
