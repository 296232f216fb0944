"""Who may log in: a registered box with its own key, over this nonce and this certificate; nobody else."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.formats import tunnel_control as control
from tests.portal.simulated_box import SimulatedBox, control_client, portal_in


async def test_a_registered_box_is_accepted_and_gets_its_orders(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            assert await box.log_in(client) == control.Accepted()
            orders = [await client.hear() for _ in range(4)]
            assert all(isinstance(order, control.Open) for order in orders)
            assert len(set(orders)) == 4


async def test_an_unknown_box_is_refused(tmp_path: Path) -> None:
    async with (
        portal_in(tmp_path) as portal,
        control_client(portal.port, portal.authority_path) as client,
    ):
        assert await SimulatedBox(tmp_path).log_in(client) == control.Refused()
        assert await client.hear() is None


async def test_a_box_with_another_key_is_refused(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        box.key = ec.generate_private_key(ec.SECP256R1())
        async with control_client(portal.port, portal.authority_path) as client:
            assert await box.log_in(client) == control.Refused()
            assert await client.hear() is None
            assert portal.boxes.get(box.box) is None


async def test_a_proof_over_an_earlier_nonce_is_refused(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            asked = await client.hear()
            assert isinstance(asked, control.Nonce)
            overheard = box.prove(asked.nonce, client.certificate_sha256)
            await client.say(overheard)
            assert await client.hear() == control.Accepted()
        async with control_client(portal.port, portal.authority_path) as thief:
            assert isinstance(await thief.hear(), control.Nonce)
            await thief.say(overheard)
            assert await thief.hear() == control.Refused()


async def test_a_proof_for_another_certificate_is_refused(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            asked = await client.hear()
            assert isinstance(asked, control.Nonce)
            await client.say(box.prove(asked.nonce, b"m" * 32))
            assert await client.hear() == control.Refused()


async def test_a_proof_for_another_box_is_refused(tmp_path: Path) -> None:
    box, other = SimulatedBox(tmp_path), SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        portal.registry.register(other.record())
        async with control_client(portal.port, portal.authority_path) as client:
            asked = await client.hear()
            assert isinstance(asked, control.Nonce)
            proof = box.prove(asked.nonce, client.certificate_sha256)
            await client.say(control.Prove(other.box, proof.signature))
            assert await client.hear() == control.Refused()


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, b"\0" * 32 + b"\1" * 32])
async def test_a_signature_that_is_none_is_refused(tmp_path: Path, signature: bytes) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with control_client(portal.port, portal.authority_path) as client:
            await client.hear()
            await client.say(control.Prove(box.box, signature))
            assert await client.hear() == control.Refused()


@pytest.mark.parametrize("frame", [control.Ping(1), control.Accepted(), control.Open(b"t" * 16)])
async def test_a_box_that_speaks_out_of_turn_is_hung_up_on(tmp_path: Path, frame: control.Frame) -> None:
    async with (
        portal_in(tmp_path) as portal,
        control_client(portal.port, portal.authority_path) as client,
    ):
        await client.hear()
        await client.say(frame)
        assert await client.hear() is None
        assert portal.counts.malformed == 1


async def test_a_box_that_does_not_prove_itself_in_time_is_hung_up_on(tmp_path: Path) -> None:
    async with (
        portal_in(tmp_path, handshake_timeout_s=0.1) as portal,
        control_client(portal.port, portal.authority_path) as client,
    ):
        assert isinstance(await client.hear(), control.Nonce)
        assert await client.hear() is None
        assert portal.counts.timeouts == 1


async def test_a_new_login_replaces_the_old_session_at_once(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    async with portal_in(tmp_path) as portal:
        portal.registry.register(box.record())
        async with (
            control_client(portal.port, portal.authority_path) as old,
            control_client(portal.port, portal.authority_path) as new,
        ):
            assert await box.log_in(old) == control.Accepted()
            first = portal.boxes.get(box.box)
            assert await box.log_in(new) == control.Accepted()
            assert portal.boxes.get(box.box) is not first
            while await old.hear() is not None:
                pass
            assert isinstance(await new.hear(), control.Open)
            assert portal.counts.boxes_now == 1


async def test_the_portal_speaks_tls_1_3_only_and_is_known_by_its_own_authority_only(tmp_path: Path) -> None:
    async with portal_in(tmp_path) as portal:
        old = ssl.create_default_context(cafile=str(portal.authority_path))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        stranger = ssl.create_default_context()
        for context in (old, stranger):
            with pytest.raises(OSError):  # ssl.SSLError is one
                await connect(portal.port, context)


async def connect(port: int, context: ssl.SSLContext) -> None:
    import asyncio

    await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="praxis-portal.localhost")


async def test_too_many_unproved_boxes_are_asked_to_come_back_later(tmp_path: Path) -> None:
    import aiohttp

    async with (
        portal_in(tmp_path, max_unproved=1) as portal,
        control_client(portal.port, portal.authority_path) as waiting,
    ):
        assert isinstance(await waiting.hear(), control.Nonce)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with control_client(portal.port, portal.authority_path):
                pass
        assert refused.value.status == 503
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == "5"
