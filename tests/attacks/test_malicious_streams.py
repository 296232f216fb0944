"""A12, a hostile portal where everything runs in one connection: the patients' streams, opened and filled as it likes.

The box has found that no work connection gets through (the portal leaves probes unanswered) and is in streams mode.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from appliance.formats import tunnel_control as control
from appliance.formats.proxy_header import encode_proxy_header
from appliance.formats.yamux import HEADER
from tests.attacks.conversation import Conversation
from tests.attacks.malicious_portal import MaliciousPortal, Talk, malicious_portal
from tests.portal.simulated_box import client_hello
from tests.simulators.outer_box import QUICK, OuterBox, outer_box

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMIT = 32
SETTINGS = {**QUICK, "dial_timeout_s": 2.0, "probe_timeout_s": 0.5, "max_connections": LIMIT}
GROWTH_KIB = 24 * 1024
DATA, WINDOW, ASK, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW_BYTES = 256 * 1024


def frame(kind: int, flags: int, stream: int, length: int) -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length)


async def behave_but_for_probes(talk: Conversation) -> None:
    """Order what the box probes with, and carry on wherever it comes."""
    if await talk.ask_for_proof() is None:
        return
    await talk.say(control.Accepted())
    talk.accepted = True
    if talk.path == control.CONTROL_PATH:
        await talk.say(control.Open(secrets.token_bytes(16)), control.Open(secrets.token_bytes(16)))
    await talk.listen()


@dataclass
class Scene:
    portal: MaliciousPortal
    box: OuterBox

    def current(self) -> Conversation:
        return self.portal.sessions[-1]

    async def stands(self) -> Conversation:
        """The box lives, and is connected again, in streams mode."""

        def connected() -> bool:
            talk = self.current()
            return talk.path == control.STREAMS_PATH and talk.accepted and not talk.ended.is_set()

        await self.portal.until(connected)
        await self.box.until("connected")
        self.box.assert_alive()
        return self.current()

    async def attack(self, talk: Talk) -> None:
        """Have the next conversation over streams go this way; it must end by the box's hand."""
        attacked: asyncio.Future[Conversation] = asyncio.get_running_loop().create_future()

        async def once(conversation: Conversation) -> None:
            if conversation.path != control.STREAMS_PATH or attacked.done():
                await behave_but_for_probes(conversation)
                return
            attacked.set_result(conversation)
            await talk(conversation)
            assert await conversation.gone()

        self.portal.talk = once
        self.current().line.close()
        async with asyncio.timeout(15):
            conversation = await attacked
        await self.portal.until(conversation.ended.is_set, within_s=15)
        self.portal.talk = behave_but_for_probes
        failures, self.portal.failures = self.portal.failures, []
        assert not failures, failures
        await self.stands()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("streams")
    async with malicious_portal(folder / "portal") as portal:
        portal.answers_probes = False
        portal.talk = behave_but_for_probes
        async with outer_box(folder / "box", portal.port, portal.authority_path, tunnel=SETTINGS) as box:
            made = Scene(portal, box)
            await portal.until(lambda: bool(portal.sessions))
            await made.stands()
            assert (await box.state()).mode == "streams"
            yield made


async def accept(conversation: Conversation) -> None:
    await conversation.ask_for_proof()
    await conversation.say(control.Accepted())
    conversation.accepted = True


ENDS = {
    "an order": control.encode_frame(control.Open(b"t" * 16)),
    "a second nonce": control.encode_frame(control.Nonce(b"n" * 32)),
    "a checkpoint": control.encode_frame(control.Checkpoint(1, 1, bytes(32), bytes(64))),
}
BROKEN = {
    "more than the window of a stream": frame(WINDOW, SYN, 2, 0) + frame(DATA, 0, 2, WINDOW_BYTES + 1),
    "the same stream twice": frame(WINDOW, SYN, 2, 0) * 2,
    "a stream of the box's number": frame(WINDOW, SYN, 3, 0),
    "a window beyond 32 bits": frame(WINDOW, SYN, 2, 0) + frame(WINDOW, 0, 2, 0xFFFFFFFF),
    "bytes after the end": frame(WINDOW, SYN, 2, 0) + frame(WINDOW, FIN, 2, 0) + frame(DATA, 0, 2, 1) + b"x",
    "two ends": frame(WINDOW, SYN, 2, 0) + frame(WINDOW, FIN, 2, 0) * 2,
    "go away": frame(AWAY, 0, 0, 0),
    "noise": random.Random(7).randbytes(4096),
}


@pytest.mark.parametrize("name", ENDS)
async def test_what_a_portal_over_streams_may_not_say_ends_the_session(scene: Scene, name: str) -> None:
    work = len([one for one in scene.portal.work if one.startswith(control.WORK_PREFIX)])

    async def talk(conversation: Conversation) -> None:
        await accept(conversation)
        await conversation.say(ENDS[name])

    await scene.attack(talk)
    assert len([one for one in scene.portal.work if one.startswith(control.WORK_PREFIX)]) == work


@pytest.mark.parametrize("when", ["before the proof", "after the proof"])
async def test_a_patients_stream_before_the_box_is_accepted_ends_the_session(scene: Scene, when: str) -> None:
    async def talk(conversation: Conversation) -> None:
        if when == "after the proof":
            await conversation.ask_for_proof()
        else:
            await conversation.opened()
        await conversation.message(
            frame(WINDOW, SYN, 2, 0) + frame(DATA, 0, 2, 28) + encode_proxy_header(("192.0.2.1", 1))
        )

    await scene.attack(talk)


@pytest.mark.parametrize("name", BROKEN)
async def test_streams_that_are_broken_end_the_session(scene: Scene, name: str) -> None:
    memory = scene.box.memory_kib("tunnel")

    async def talk(conversation: Conversation) -> None:
        await accept(conversation)
        await conversation.message(BROKEN[name])

    await scene.attack(talk)
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB


async def alive(talk: Conversation, scene: Scene, value: int) -> None:
    """Fail if the session does not answer: it was neither ended nor held up."""
    await talk.say(control.Ping(value))
    await scene.portal.until(lambda: talk.answered == value)


async def test_streams_beyond_the_limit_are_refused_and_the_session_goes_on(scene: Scene) -> None:
    talk = await scene.stands()
    descriptors, memory = scene.box.descriptor_count("tunnel"), scene.box.memory_kib("tunnel")
    header = encode_proxy_header(("192.0.2.1", 1))
    for number in range(500):
        stream = 10_000 + 2 * number
        await talk.message(frame(WINDOW, SYN, stream, 0) + frame(DATA, 0, stream, len(header)) + header)
    await alive(talk, scene, 11)
    async with asyncio.timeout(10):  # while one is handed over, it takes some more
        while scene.box.descriptor_count("tunnel") - descriptors > LIMIT:
            await asyncio.sleep(0.02)
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB
    for number in range(500):
        await talk.message(frame(WINDOW, RST, 10_000 + 2 * number, 0))
    await alive(talk, scene, 12)
    async with asyncio.timeout(10):
        while scene.box.descriptor_count("tunnel") > descriptors:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        random.Random(9).randbytes(64),
        b"GET / HTTP/1.1\r\n\r\n",
        encode_proxy_header(("192.0.2.1", 1)) + bytes(600),
    ],
    ids=["nothing", "noise", "http", "a header and noise"],
)
async def test_a_stream_that_is_no_patient_ends_alone(scene: Scene, beginning: bytes) -> None:
    talk = await scene.stands()
    descriptors = scene.box.descriptor_count("tunnel")
    stream = 20_000 + 2 * secrets.randbelow(10_000)
    await talk.message(frame(WINDOW, SYN, stream, 0))
    if beginning:
        await talk.message(frame(DATA, 0, stream, len(beginning)) + beginning)
    await talk.message(frame(WINDOW, FIN, stream, 0))
    await alive(talk, scene, talk.answered + 1)
    async with asyncio.timeout(10):
        while scene.box.descriptor_count("tunnel") > descriptors:
            await asyncio.sleep(0.02)


async def test_answers_that_the_portal_does_not_read_wait_in_bounded_memory(scene: Scene) -> None:
    """Each stream has a handshake's answer to give and no window to give it in; pings still pass."""
    talk = await scene.stands()
    memory = scene.box.memory_kib("tunnel")
    beginning = encode_proxy_header(("192.0.2.1", 1)) + client_hello(scene.box.host_name)
    streams = [40_000 + 2 * number for number in range(LIMIT - 1)]
    for stream in streams:
        await talk.message(frame(WINDOW, SYN, stream, 0) + frame(DATA, 0, stream, len(beginning)) + beginning)
    await alive(talk, scene, talk.answered + 1)
    assert scene.box.memory_kib("tunnel") - memory < GROWTH_KIB
    for stream in streams:
        await talk.message(frame(WINDOW, RST, stream, 0))
    await alive(talk, scene, talk.answered + 1)
    await scene.stands()


assert HEADER.size == len(frame(0, 0, 0, 0))
