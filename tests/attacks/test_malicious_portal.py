"""A12, what a hostile portal says to a box: every row is a thing it can do, with what must come of it.

The box is its own processes (simulators/outer_box.py), the portal has a certificate the box trusts. After each row the box
stands, has opened nothing it was not rightly ordered to, and is back as soon as the portal behaves.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from appliance.formats import tunnel_control as control
from appliance.formats.tunnel_control import FRAME_BYTES, Kind
from tests.attacks.control_scene import GROWTH_KIB, SETTINGS, Scene, control_scene, reach, saying
from tests.attacks.malicious_portal import (
    Conversation,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 20260512
FUZZED = 50


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with control_scene(tmp_path_factory.mktemp("malicious")) as made:
        yield made


# --- Control frames ----------------------------------------------------------------------------------------------

#: How many bytes a portal's frame may fill after its type, by when it may be said. Written from docs/formats/tunnel.md.
ALLOWED: dict[str, dict[int, int]] = {
    "before the proof": {Kind.NONCE: 32},
    "after the proof": {Kind.ACCEPTED: 0, Kind.REFUSED: 0},
    "accepted": {Kind.OPEN: 16, Kind.PING: 8},
}


def allowed(when: str, frame: bytes) -> bool:
    body = ALLOWED[when].get(frame[0])
    return body is not None and not any(frame[1 + body :])


@pytest.mark.parametrize("when", ALLOWED)
@pytest.mark.parametrize("kind", [*Kind, 0, 9, 255], ids=lambda kind: f"type{int(kind)}")
async def test_a_frame_out_of_turn_ends_the_session(scene: Scene, when: str, kind: int) -> None:
    frame = bytes([kind]).ljust(FRAME_BYTES, b"\0")
    if allowed(when, frame):  # in turn; a bit in its unused part is not
        frame = frame[:-1] + b"\1"
    await scene.attack(reach(when, saying(frame)), proofs=int(when != "before the proof"))


@pytest.mark.parametrize("when", ALLOWED)
async def test_a_frame_with_a_fuzzed_body_ends_the_session(scene: Scene, when: str) -> None:
    seed = SEED + list(ALLOWED).index(when)
    print(f"seed={seed}")
    chance = random.Random(seed)
    for _ in range(FUZZED):
        frame = allowed_frame = bytes([next(iter(ALLOWED[when]))]).ljust(FRAME_BYTES, b"\0")
        while allowed(when, frame):
            kind = chance.choice([allowed_frame[0], *Kind, chance.randrange(256)])
            body = chance.randbytes(chance.randrange(FRAME_BYTES))
            frame = (bytes([kind]) + body)[:FRAME_BYTES].ljust(FRAME_BYTES, b"\0")
        await scene.attack(reach(when, saying(frame)), proofs=int(when != "before the proof"))


@pytest.mark.parametrize(
    "words",
    [
        [control.Accepted(), control.Open(b"t" * 16)],
        [control.Open(b"t" * 16)],
        [control.Refused(), control.Open(b"t" * 16)],
    ],
    ids=["accepted unasked", "order at once", "refused then ordered"],
)
async def test_no_order_is_followed_before_the_portal_accepted(scene: Scene, words: list[control.Frame]) -> None:
    async def talk(conversation: Conversation) -> None:
        await conversation.opened()
        if isinstance(words[0], control.Refused):
            await conversation.ask_for_proof()
        await conversation.say(*words)
        assert await conversation.gone()

    await scene.attack(talk, proofs=1)


async def test_an_order_between_proof_and_acceptance_is_not_followed(scene: Scene) -> None:
    """All in one message: what is out of turn also takes along what came rightly before it."""
    frames = [control.Open(b"t" * 16), control.Accepted(), control.Open(b"u" * 16)]
    together = b"".join(map(control.encode_frame, frames))
    await scene.attack(reach("after the proof", saying(together)), proofs=1)


async def test_a_flood_of_orders_is_held_to_the_limit(scene: Scene) -> None:
    portal, box = scene.portal, scene.box
    await scene.stands()
    begun, memory = len(portal.work), box.memory_kib("tunnel")

    def opened() -> int:
        return sum(first.startswith(control.WORK_PREFIX) for first in portal.work[begun:])

    talk = portal.sessions[-1]
    for _ in range(3000):
        await talk.say(control.Open(secrets.token_bytes(16)))
    limit = int(SETTINGS["max_connections"])
    await portal.until(lambda: opened() >= limit)
    await talk.say(control.Ping(7))
    await portal.until(lambda: talk.answered == 7)  # so every order before it was read
    assert not talk.ended.is_set()
    assert (await box.state()).spares <= limit
    assert opened() == limit
    assert box.memory_kib("tunnel") - memory < GROWTH_KIB
    for line in portal.work_lines:
        line.close()
    portal.work_lines.clear()
    await scene.stands()
    async with asyncio.timeout(10):
        while (await box.state()).spares:
            await asyncio.sleep(0.02)
    assert box.descriptor_count("tunnel") < limit
