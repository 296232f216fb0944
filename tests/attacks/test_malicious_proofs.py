"""A12, a hostile portal and what a box tells it: a proof is good for one portal, one certificate, one nonce; no list of relays leads astray.

The honest portal is the real one. The hostile one has its own authority, or even the honest one's stolen authority key: then
every box believes it, and still has no proof that the honest portal takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from appliance.formats import tunnel_control as control
from provisioning.portal.portal import Portal
from tests.attacks.conversation import Conversation, Line
from tests.attacks.malicious_portal import MaliciousPortal, behave, malicious_portal, upgrade_only
from tests.portal.simulated_box import SimulatedBox, control_client, portal_in
from tests.simulators.outer_box import QUICK, OuterBox, outer_box

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {**QUICK, "dial_timeout_s": 2.0, "relays_pause_s": 0.01}
GROWTH_KIB = 24 * 1024


@dataclass
class Scene:
    honest: Portal
    hostile: MaliciousPortal
    box: OuterBox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """The hostile portal has the honest one's authority key, and a certificate of its own from it."""
    folder = tmp_path_factory.mktemp("proofs")
    identity = SimulatedBox(folder)
    async with portal_in(folder) as honest:
        honest.registry.register(identity.record())
        stolen = folder / "hostile"
        stolen.mkdir()
        for name in ("portal-ca.pem", "portal-ca.key"):
            shutil.copy(honest.authority_path.parent / name, stolen / name)
        async with (
            malicious_portal(stolen) as hostile,
            outer_box(folder / "box", hostile.port, honest.authority_path, identity=identity, tunnel=SETTINGS) as box,
        ):
            await box.until("connected")
            yield Scene(honest, hostile, box)


async def proof_of(scene: Scene, nonce: bytes) -> control.Prove:
    """Get a proof of the box's over this nonce, as its portal can at any time."""
    got: asyncio.Future[control.Prove | None] = asyncio.get_running_loop().create_future()

    async def ask(conversation: Conversation) -> None:
        proof = await conversation.ask_for_proof(nonce)
        if not got.done():
            got.set_result(proof)

    scene.hostile.talk = ask
    for talk in scene.hostile.sessions:
        talk.line.close()
    async with asyncio.timeout(10):
        proof = await got
    scene.hostile.talk = behave
    assert proof is not None
    return proof


@pytest.mark.parametrize("changed", ["as it is", "another box named", "the signature changed"])
async def test_a_proof_that_is_passed_on_is_taken_by_no_other_portal(scene: Scene, changed: str) -> None:
    """The relay attack: the honest portal's nonce, the true box's proof over it, within the same second."""
    accepted = scene.honest.counts.proofs_accepted
    async with control_client(scene.honest.port, scene.honest.authority_path) as impostor:
        asked = await impostor.hear()
        assert isinstance(asked, control.Nonce)
        proof = await proof_of(scene, asked.nonce)
        if changed == "another box named":
            proof = control.Prove(bytes(16), proof.signature)
        elif changed == "the signature changed":
            proof = control.Prove(proof.box, bytes([proof.signature[0] ^ 1]) + proof.signature[1:])
        await impostor.say(proof)
        assert await impostor.hear() == control.Refused()
    assert scene.honest.counts.proofs_accepted == accepted


async def test_an_old_proof_answers_no_new_nonce(scene: Scene) -> None:
    proof = await proof_of(scene, bytes(range(32)))
    for _ in range(3):
        async with control_client(scene.honest.port, scene.honest.authority_path) as impostor:
            assert isinstance(await impostor.hear(), control.Nonce)
            await impostor.say(proof)
            assert await impostor.hear() == control.Refused()


async def test_the_same_nonce_twice_gives_two_proofs_and_neither_can_be_used_elsewhere(scene: Scene) -> None:
    """A box does not remember nonces; what it signs names portal and certificate, so a repeated one wins nothing."""
    first, second = await proof_of(scene, b"n" * 32), await proof_of(scene, b"n" * 32)
    assert first.signature != second.signature
    assert {certificate for nonce, certificate in scene.box.vault.proofs if nonce == b"n" * 32} == {
        scene.hostile.context.certificate_sha256
    }


async def test_the_honest_portal_takes_the_box_itself(scene: Scene) -> None:
    """The control: what was refused above is not refused to everyone."""
    async with control_client(scene.honest.port, scene.honest.authority_path) as client:
        assert await scene.box.identity.log_in(client) == control.Accepted()


# --- Relays ------------------------------------------------------------------------------------------------------


def page(body: bytes, status: str = "200 OK", length: int | None = None) -> Callable[[Line], Awaitable[None]]:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n"
    return lambda line: line.write(head.encode() + body)


async def without_end(line: Line) -> None:
    await line.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"relays": ["')
    for _ in range(2000):
        await line.write(b"a" * 16384)
        if line.writer.is_closing():
            return


async def byte_by_byte(line: Line) -> None:
    await line.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
    for _ in range(40):
        await line.write(b" ")
        await asyncio.sleep(0.1)


LISTS: dict[str, Callable[[Line], Awaitable[None]]] = {
    "without end": without_end,
    "byte by byte": byte_by_byte,
    "longer than allowed": page(b'{"relays": ["' + b"a" * 100_000 + b'"]}'),
    "shorter than it says": page(b'{"relays": ["a:1"]}', length=5000),
    "too many": page(b'{"relays": [' + b",".join(b'"relay%d.example:443"' % number for number in range(17)) + b"]}"),
    "none": page(b'{"relays": []}'),
    "no JSON": page(b"<html>"),
    "another structure": page(b'{"relays": {"a": 1}}'),
    "one field more": page(b'{"relays": ["a.example:443"], "plain": true}'),
    "deep": page(b"[" * 8000),
    "a path in it": page(b'{"relays": ["127.0.0.1:443/../../x"]}'),
    "a user in it": page(b'{"relays": ["portal.example@127.0.0.1:443"]}'),
    "no port": page(b'{"relays": ["127.0.0.1"]}'),
    "a line break": page(b'{"relays": ["127.0.0.1:1\\r\\nHost: x"]}'),
    "sent elsewhere": page(b"", "302 Found\r\nLocation: https://127.0.0.1:9/relays"),
    "come later": page(b"", "503 Busy\r\nRetry-After: 999999999"),
}


async def looks_again(scene: Scene, answer: Callable[[Line], Awaitable[None]]) -> None:
    """Have the box ask for the relays, and answer so; then say that there are none."""
    hostile = scene.hostile
    asked = asyncio.Event()

    async def answering(path: str, line: Line) -> bool:
        if path != "/relays":
            return False
        await answer(line)
        asked.set()
        return True

    hostile.answer = answering
    for talk in hostile.sessions:
        talk.line.close()
    async with asyncio.timeout(15):
        await asked.wait()
    before = hostile.requests.count("/relays")
    hostile.answer = upgrade_only
    for talk in hostile.sessions:
        talk.line.close()
    await hostile.until(lambda: hostile.requests.count("/relays") > before)
    await hostile.until(lambda: hostile.sessions[-1].accepted and not hostile.sessions[-1].ended.is_set())
    await scene.box.until("connected")


@pytest.mark.parametrize("name", LISTS)
async def test_a_list_of_relays_that_is_none_is_not_followed(scene: Scene, name: str) -> None:
    memory = scene.box.memory_kib("tunnel")
    await looks_again(scene, LISTS[name])
    assert set(scene.hostile.requests) <= {"/relays", control.CONTROL_PATH, control.STREAMS_PATH}
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB
    scene.box.assert_alive()


async def test_a_relay_that_is_somebody_else_hears_a_hello_and_gets_no_proof(scene: Scene) -> None:
    """A hostile portal can make a box dial an address, as it could by DNS; without the pinned authority that is all."""
    heard = bytearray()

    async def strange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            heard.extend(await reader.read(65536))
            writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(strange, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proofs = len(scene.box.vault.proofs)
    await looks_again(scene, page(f'{{"relays": ["127.0.0.1:{port}"]}}'.encode()))
    server.close()
    assert heard[:1] == b"\x16"
    assert b"HTTP" not in heard
    assert b"PXW1" not in heard
    # As many proofs as the box gave to conversations with its own portal, none more.
    assert len(scene.box.vault.proofs) - proofs <= len(scene.hostile.sessions)
    assert {certificate for _, certificate in scene.box.vault.proofs} == {scene.hostile.context.certificate_sha256}
