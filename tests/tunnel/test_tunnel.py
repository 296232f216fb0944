"""tunnel against a real portal over real TLS: connected, patients served, and every way to lose the portal."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from appliance.contracts.gateway import GATEWAY
from appliance.contracts.tunnel import TUNNEL, ReadState
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Caller, Peer, PeerGone
from appliance.formats import tunnel_control as control
from appliance.tunnel.answers import make_answers
from appliance.tunnel.status import Status
from provisioning.portal.authority import Authority
from provisioning.portal.portal import Portal
from tests.portal.simulated_box import (
    PORTAL_NAME,
    SimulatedBox,
    client_hello,
    control_client,
    dial_with,
    patient_tls,
    portal_in,
    read_to_end,
)
from tests.tunnel.running_tunnel import QUICK, make_keepers, portal_and_tunnel, tunnel_to, visit
from tests.tunnel.simulated_peers import SimulatedVault, answering

MEGABYTES = random.Random(5).randbytes(5 * 1024 * 1024 + 1)


async def test_a_patients_tls_ends_on_the_descriptor_that_gateway_took(tmp_path: Path) -> None:
    async with portal_and_tunnel(tmp_path) as (portal, tunnel):
        await visit(portal.port, tunnel.box, MEGABYTES)
        assert tunnel.gateway.taken == 1
        await tunnel.until("connected", spares=4)


async def test_many_patients_at_once_are_served(tmp_path: Path) -> None:
    async with portal_and_tunnel(tmp_path) as (portal, tunnel):
        await asyncio.gather(*(visit(portal.port, tunnel.box, b"x" * 100_000) for _ in range(12)))
        assert tunnel.gateway.taken == 12


async def test_two_boxes_behind_one_portal_never_cross(tmp_path: Path) -> None:
    other = SimulatedBox(tmp_path)
    (tmp_path / "other").mkdir()
    async with portal_and_tunnel(tmp_path) as (portal, tunnel):
        portal.registry.register(other.record())
        async with tunnel_to(tmp_path / "other", portal.port, portal.authority_path, other) as second:
            await second.until("connected", spares=4)
            await asyncio.gather(
                *(visit(portal.port, box, box.box * 5000) for box in (tunnel.box, other) for _ in range(6))
            )
            assert (tunnel.gateway.taken, second.gateway.taken) == (6, 6)


async def test_when_gateway_is_full_the_patient_is_hung_up_on(tmp_path: Path) -> None:
    async with portal_and_tunnel(tmp_path) as (portal, tunnel):
        tunnel.gateway.full = True
        hello = client_hello(tunnel.box.host_name)
        with contextlib.closing(await dial_with(("127.0.0.1", portal.port), hello)) as patient:
            assert await read_to_end(patient) == b""
        assert not tunnel.running.done()


async def test_an_unregistered_box_is_refused_and_says_so(tmp_path: Path) -> None:
    async with portal_in(tmp_path) as portal:
        box = SimulatedBox(tmp_path)
        async with tunnel_to(tmp_path, portal.port, portal.authority_path, box) as tunnel:
            await tunnel.until("refused")
            assert portal.counts.proofs_refused >= 1
            portal.registry.register(box.record())
            await tunnel.until("connected", spares=4)


async def test_it_comes_back_after_the_portal_was_away(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with contextlib.AsyncExitStack() as stack:
        async with portal_in(tmp_path) as portal:
            portal.registry.register(box.record())
            port = portal.port
            tunnel = await stack.enter_async_context(tunnel_to(tmp_path, port, portal.authority_path, box))
            await tunnel.until("connected", spares=4)
        await tunnel.until("connecting")
        async with portal_in(tmp_path, listen_port=port) as again:
            await tunnel.until("connected", spares=4)
            await visit(again.port, box, b"after the outage")


async def test_a_spare_outlives_a_lost_control_connection(tmp_path: Path) -> None:
    async with portal_and_tunnel(tmp_path) as (portal, tunnel):
        reader, writer = await patient_tls(portal.port, tunnel.box)
        await reader.readline()
        async with control_client(portal.port, portal.authority_path) as usurper:  # the same box logs in anew
            assert await tunnel.box.log_in(usurper) == control.Accepted()
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
        writer.close()


async def test_a_portal_of_another_authority_gets_no_proof(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    pinned = Authority(tmp_path / "pinned", PORTAL_NAME, datetime.datetime.now(datetime.UTC)).authority_path
    async with portal_in(tmp_path) as portal, tunnel_to(tmp_path, portal.port, pinned, box) as tunnel:
        portal.registry.register(box.record())
        await tunnel.until("refused")
        assert tunnel.vault.proofs == 0


async def test_a_man_in_the_middle_wins_nothing_even_with_a_certificate_of_the_authority(tmp_path: Path) -> None:
    """He holds a certificate the box trusts, passes nonce and proof on, and is still refused by the portal."""
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        folder = portal.authority_path.parent
        (folder / "portal.pem").unlink()
        his = Authority(folder, PORTAL_NAME, datetime.datetime.now(datetime.UTC)).context(
            datetime.datetime.now(datetime.UTC)
        )
        async with (
            man_in_the_middle(portal, his) as his_port,
            tunnel_to(tmp_path, his_port, portal.authority_path, box) as tunnel,
        ):
            await tunnel.until("refused")
            assert tunnel.vault.proofs >= 1
        assert portal.counts.proofs_accepted == 0
        assert portal.counts.proofs_refused >= 1


@asynccontextmanager
async def man_in_the_middle(portal: Portal, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Ends the box's TLS, dials the portal, and passes every byte on in both directions."""
    towards_portal = ssl.create_default_context(cafile=str(portal.authority_path))
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(
            "127.0.0.1", portal.port, ssl=towards_portal, server_hostname=PORTAL_NAME
        )
        for pair in ((reader, there[1]), (there[0], writer)):
            tasks.add(asyncio.ensure_future(copy(*pair)))

    server = await asyncio.start_server(attend, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()


@pytest.mark.parametrize("lost", ["vault", "gateway"])
async def test_it_ends_when_a_peer_cannot_be_redialled(tmp_path: Path, lost: str) -> None:
    box = SimulatedBox(tmp_path)
    gone = Peer(VAULT if lost == "vault" else GATEWAY, tmp_path / "gone.sock")
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        vault = SimulatedVault(box, portal.port, portal.authority_path)
        async with answering(tmp_path, "vault", VAULT, vault.answers()) as vault_peer:
            settings = msgspec.structs.replace(QUICK, state=str(tmp_path))
            keepers, _, status = make_keepers(gone if lost == "vault" else vault_peer, gone, settings)
            running = asyncio.ensure_future(keepers.run())
            if lost == "gateway":
                while status.spares < 4:
                    await asyncio.sleep(0.005)
                with contextlib.closing(
                    await dial_with(("127.0.0.1", portal.port), client_hello(box.host_name))
                ) as patient:
                    await read_to_end(patient)
            with pytest.raises(BaseExceptionGroup) as ended:
                await running
            assert ended.group_contains(PeerGone)


@asynccontextmanager
async def hostile_portal(tmp_path: Path, answer: object) -> AsyncIterator[tuple[int, Path]]:
    """A server with a certificate the box trusts, and any behaviour."""
    authority = Authority(tmp_path / "hostile", PORTAL_NAME, datetime.datetime.now(datetime.UTC))
    application = web.Application()
    application.router.add_get("/{any:.*}", answer)  # type: ignore[arg-type]
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context(datetime.datetime.now(datetime.UTC)))
    await site.start()
    try:
        yield runner.addresses[0][1], authority.authority_path
    finally:
        await runner.cleanup()


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    async with (
        hostile_portal(tmp_path, redirect) as (port, authority),
        tunnel_to(tmp_path, port, authority, SimulatedBox(tmp_path)) as tunnel,
    ):
        while len(asked) < 2:
            await asyncio.sleep(0.005)
        assert set(asked) == {"/relays"}
        assert tunnel.vault.proofs == 0


@pytest.mark.parametrize(
    "words", [[control.Open(b"t" * 16)], [control.Accepted()], [control.Ping(1)], [b"\xff" * 128]]
)
async def test_a_portal_that_breaks_the_protocol_gets_no_proof_and_no_connection(
    tmp_path: Path, words: list[control.Frame | bytes]
) -> None:
    from appliance.formats.yamux import Session, StreamOpened

    sessions = 0

    async def speak(request: web.Request) -> web.StreamResponse:
        nonlocal sessions
        sessions += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        session = Session("server")
        async for message in socket:
            for event in session.receive(message.data):
                if isinstance(event, StreamOpened):
                    for word in words:
                        session.send(event.stream, word if isinstance(word, bytes) else control.encode_frame(word))
            await socket.send_bytes(session.bytes_to_send())
        return socket

    async with (
        hostile_portal(tmp_path, speak) as (port, authority),
        tunnel_to(tmp_path, port, authority, SimulatedBox(tmp_path)) as tunnel,
    ):
        while sessions < 2:  # it hung up by itself and came back
            await asyncio.sleep(0.005)
        assert tunnel.vault.proofs == 0
        assert tunnel.status.spares == 0
        assert not tunnel.running.done()


async def test_the_state_is_answered_as_it_is(tmp_path: Path) -> None:
    async with portal_and_tunnel(tmp_path) as (_, tunnel):
        answers = make_answers(tunnel.status, tunnel.route, tunnel.keepers)
        state = await answers[ReadState](ReadState(), Caller("practice"))
        assert (state.state, state.mode, state.connected, state.relays) == ("connected", "raw", 1, 1)
        assert (state.problem, state.proxy, state.proxy_user) == ("", "", "")
        assert state.spares >= 4
        assert abs(state.since - time.time()) < 30
    assert TUNNEL.verbs.keys() == {"ReadState", "SetProxy", "RemoveProxy"} == {verb.__name__ for verb in answers}


def test_staying_connected_does_not_move_since() -> None:
    status = Status(100)
    status.want(["relay"], 150)
    status.enter("relay", "connected", 200)
    status.enter("relay", "connected", 300)
    assert (status.state, status.since) == ("connected", 200)
