"""What stands in front of a patient's TLS: the header is required and taken, the ClientHello is looked at and stays."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.core.errors import Invalid, Unavailable
from appliance.formats.proxy_header import encode_proxy_header
from appliance.gateway import first_bytes
from appliance.gateway.connections import checked_socket
from appliance.gateway.first_bytes import holder_of, look_for_protocols, take_holder
from tests.gateway.conftest import connect
from tests.simulators.patient_side import HOST, PatientSide, run_patient_side

PATIENT = ("198.51.100.7", 40_000)


def client_hello(*protocols: str) -> bytes:
    """Give a ClientHello as OpenSSL writes it."""
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(list(protocols))
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return socket.create_connection(listener.getsockname()), listener.accept()[0]


@pytest.fixture(params=["tcp", "unix"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    far, near = tcp_pair() if request.param == "tcp" else socket.socketpair()
    near.setblocking(False)
    with far, near:
        yield far, near


async def test_the_header_is_taken_to_the_byte_and_the_client_hello_stays(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    far, near = ends
    hello = client_hello("acme-tls/1")
    far.sendall(encode_proxy_header(PATIENT) + hello)
    assert await take_holder(near) == ipaddress.ip_address(PATIENT[0])
    assert await look_for_protocols(near) == (b"acme-tls/1",)
    assert near.recv(65536) == hello


async def test_first_bytes_may_come_one_by_one_and_wake_once_each(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    far, near = ends
    looks = 0
    peek = first_bytes._peek

    def counted(sock: socket.socket) -> bytes:
        nonlocal looks
        looks += 1
        return peek(sock)

    monkeypatch.setattr(first_bytes, "_peek", counted)
    header = encode_proxy_header(PATIENT)
    holder = asyncio.create_task(take_holder(near))
    for position in range(len(header)):
        far.sendall(header[position : position + 1])
        for _ in range(50):  # time enough to spin, were it readable while nothing new came
            await asyncio.sleep(0)
    assert await holder == ipaddress.ip_address(PATIENT[0])
    assert looks <= len(header)


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n\r\n", encode_proxy_header(PATIENT)[:-1]], ids=["nothing", "a part", "all but one"]
)
async def test_a_peer_that_leaves_before_its_header_is_whole_is_noticed(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    far, near = ends
    far.sendall(sent)
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(Unavailable, match="peer_left"):
        await asyncio.wait_for(take_holder(near), 5)


async def test_a_patient_who_sends_and_shuts_down_is_still_read(ends: tuple[socket.socket, socket.socket]) -> None:
    far, near = ends
    far.sendall(encode_proxy_header(None))
    far.shutdown(socket.SHUT_WR)
    assert await take_holder(near) is None


async def test_without_a_header_there_is_no_connection(ends: tuple[socket.socket, socket.socket]) -> None:
    far, near = ends
    far.sendall(client_hello())
    with pytest.raises(Invalid, match="proxy_header"):
        await take_holder(near)


def test_one_ipv6_network_is_one_holder() -> None:
    first, second = ipaddress.ip_address("2001:db8:1:2::1"), ipaddress.ip_address("2001:db8:1:2:ffff::9")
    assert holder_of(first) == holder_of(second) == ipaddress.ip_network("2001:db8:1:2::/64")
    assert holder_of(ipaddress.ip_address("2001:db8:1:3::1")) != holder_of(first)
    assert holder_of(ipaddress.ip_address("::ffff:192.0.2.1")) == ipaddress.ip_address("192.0.2.1")


@pytest.mark.parametrize("end", ["client", "accepted"])
@pytest.mark.parametrize("name", ["path", "abstract"])
def test_a_connection_to_another_processs_socket_is_not_believed(tmp_path: Path, name: str, end: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "vault.sock") if name == "path" else f"\0vault-{os.getpid()}")
        listener.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(listener.getsockname())
        accepted = listener.accept()[0]
    with client, accepted:
        passed = os.dup((client if end == "client" else accepted).fileno())
        with pytest.raises(Invalid, match="connection"):
            checked_socket(passed)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(passed)


def test_one_end_of_a_pair_is_believed() -> None:
    far, near = socket.socketpair()
    with far, checked_socket(near.detach()) as sock:
        far.send(b"x")
        assert sock.recv(1) == b"x"


def try_to_lead_elsewhere(sock: socket.socket, there: str) -> bool:
    """Try to take an end of a pair to another socket of the network it was made in; say whether a byte may get there."""
    with contextlib.suppress(OSError):
        ctypes.CDLL(None).connect(sock.fileno(), bytes(28), 28)  # AF_UNSPEC: disconnect, connect(2)
    for act in (sock.connect, lambda name: sock.sendto(b"canary", name)):
        with contextlib.suppress(OSError):
            act(there)
            return True
    with contextlib.suppress(OSError):
        sock.listen()
        return True
    return False


@pytest.mark.parametrize("state", ["as it came", "its peer gone", "shut down"])
@pytest.mark.parametrize(("kind", "leads"), [(socket.SOCK_STREAM, False), (socket.SOCK_DGRAM, True)])
def test_the_end_of_a_stream_pair_leads_nowhere_else_and_that_of_a_datagram_pair_would(
    kind: socket.SocketKind, state: str, leads: bool
) -> None:
    """A pair belongs to the network it was made in, and with it to that network's abstract names: to tunnel's."""
    far, near = socket.socketpair(socket.AF_UNIX, kind)
    with socket.socket(socket.AF_UNIX, kind) as elsewhere, far, near:
        elsewhere.bind(f"\0elsewhere-{os.getpid()}")
        if kind == socket.SOCK_STREAM:
            elsewhere.listen()
        near.setblocking(False)
        if state == "its peer gone":
            far.close()
        elif state == "shut down":
            near.shutdown(socket.SHUT_RDWR)
        assert try_to_lead_elsewhere(near, elsewhere.getsockname()) == leads


def pass_patient(side: PatientSide, address: str, sent: bytes = b"") -> socket.socket:
    """Pass a patient's connection from `address`; give the patient's end."""
    far, near = socket.socketpair()
    side.connections.take(near.detach())
    far.setblocking(False)
    far.send(encode_proxy_header((address, 40_000)) + sent)
    return far


async def ended(far: socket.socket) -> bool:
    """Say whether gateway has ended the connection; bounded."""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(5):
            return not await asyncio.get_running_loop().sock_recv(far, 1)
    return True


async def request(side: PatientSide, far: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(sock=far, ssl=side.client_context(), server_hostname=HOST)
    writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
    try:
        return await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "holds", [b"", client_hello()[:40], client_hello()], ids=["nothing", "half a hello", "a hello and no more"]
)
async def test_one_address_that_holds_its_cap_keeps_no_other_out(tmp_path: Path, holds: bytes) -> None:
    async with run_patient_side(tmp_path, max_connections=16, max_connections_per_address=4) as side:
        held = [pass_patient(side, "198.51.100.7", holds) for _ in range(4)]
        over = [pass_patient(side, "198.51.100.7", holds) for _ in range(4)]
        assert [await ended(far) for far in over] == [True] * 4
        assert b" 200 " in await request(side, pass_patient(side, "198.51.100.8"))
        assert b" 200 " in await request(side, pass_patient(side, "2001:db8::1"))
        held.pop().close()  # a place is free again
        for _ in range(100):
            if side.connections._held[ipaddress.ip_address("198.51.100.7")] < 4:
                break
            await asyncio.sleep(0)
        assert b" 200 " in await request(side, pass_patient(side, "198.51.100.7"))
        for far in held + over:
            far.close()


@pytest.mark.parametrize("version", ["2001:db8:1:2::", "2001:db8:9:9::"], ids=["one network", "another network"])
async def test_a_network_cannot_take_new_addresses_to_hold_more(tmp_path: Path, version: str) -> None:
    async with run_patient_side(tmp_path, max_connections_per_address=2) as side:
        held = [pass_patient(side, f"{version}{number}", client_hello()) for number in range(1, 4)]
        assert await ended(held[2])
        for far in held:
            far.close()


@pytest.mark.parametrize(
    "sent",
    [b"", b"\r\n\r\n\0", encode_proxy_header(PATIENT), encode_proxy_header(PATIENT) + client_hello()[:40]],
    ids=["nothing", "a part of the header", "the header", "half a hello"],
)
async def test_who_does_not_go_on_is_left_at_the_deadline(tmp_path: Path, sent: bytes) -> None:
    async with run_patient_side(tmp_path, handshake_timeout_s=0.05) as side:
        far, near = socket.socketpair()
        with far:
            side.connections.take(near.detach())
            far.setblocking(False)
            far.send(sent)
            assert await ended(far)
        await nobody_held(side)


async def test_what_is_no_header_is_closed_at_once(side: PatientSide) -> None:
    far, near = socket.socketpair()
    with far:
        side.connections.take(near.detach())
        far.setblocking(False)
        far.send(client_hello())
        assert await ended(far)
    await nobody_held(side)


async def test_an_address_is_forgotten_with_its_last_connection(side: PatientSide) -> None:
    _, writer = await connect(side)
    assert len(side.connections._held) == 1
    writer.close()
    await writer.wait_closed()
    await nobody_held(side)


async def test_the_context_is_chosen_by_the_offered_protocols(side: PatientSide) -> None:
    asked: list[tuple[bytes, ...]] = []
    context = side.connections._context

    def choose(protocols: tuple[bytes, ...]) -> ssl.SSLContext | None:
        asked.append(protocols)
        return None if b"acme-tls/1" in protocols else context(protocols)

    side.connections._context = choose
    assert await ended(pass_patient(side, "198.51.100.7", client_hello("acme-tls/1")))
    assert b" 200 " in await request(side, pass_patient(side, "198.51.100.7"))
    assert asked == [(b"acme-tls/1",), (b"http/1.1",)]


async def nobody_held(side: PatientSide) -> None:
    """Wait until every connection and address is forgotten; bounded."""
    async with asyncio.timeout(5):
        while side.connections._held or side.connections._count:
            await asyncio.sleep(0.001)
