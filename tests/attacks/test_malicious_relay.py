"""A12, what a hostile portal does with a patient's bytes: each row must come to nothing but an end of the connection.

Two boxes of their own processes stand behind one portal that both trust. The patient checks certificates, as every
browser does; one that clicks a warning away is outside of what can be shown here. A row never gives the patient a byte that the box did
not send, never lets the box follow a question the patient did not ask, and leaves the box as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from appliance.formats.proxy_header import encode_proxy_header
from appliance.gateway.settings import GatewaySettings
from tests.attacks import tls_records as tls
from tests.attacks.conversation import Line
from tests.attacks.malicious_portal import Carry, MaliciousPortal, malicious_portal, pass_on
from tests.attacks.own_page import page_context
from tests.simulators.outer_box import QUICK, OuterBox, outer_box
from tests.simulators.patient_side import PIN, Authority, MadeShare
from tests.simulators.sample_documents import Sample

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = bytes(range(256)) * 4096  # 1 MiB: many records
ADDRESS_LIMIT = GatewaySettings().max_connections_per_address
#: A patient whose portal says nothing waits; a test does not wait as long.
SILENCE_S = 1.0
REFUSALS = (aiohttp.ClientError, ssl.SSLError, OSError, TimeoutError)


@dataclass
class Scene:
    portal: MaliciousPortal
    box: OuterBox
    other: OuterBox
    share: MadeShare

    def asked(self) -> tuple[int, int]:
        return self.box.vault.shown, self.box.vault.opened

    async def refused_with(self, carry: Carry, *, within_s: float = 10.0) -> None:
        """Have a patient load the document this way, in vain; then the right way."""
        self.portal.carry = carry
        async with self.box.patient(self.share) as patient:
            with pytest.raises(REFUSALS):
                async with asyncio.timeout(within_s):
                    await patient.sealed(self.share.documents[0].file)
        await self.stands()

    async def stands(self) -> None:
        self.portal.carry = pass_on
        for box in (self.box, self.other):
            box.assert_alive()
        async with self.box.patient(self.share) as patient:
            assert await patient.open(PIN) == {"befund.pdf": CONTENT}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp("relay")
    async with malicious_portal(folder / "portal") as portal:
        common = (portal.port, portal.authority_path)
        async with (
            outer_box(folder / "box", *common, tunnel=QUICK) as box,
            outer_box(folder / "other", *common, tunnel=QUICK) as other,
        ):
            for one in (box, other):
                portal.homes[one.host_name] = one.identity.box
                await one.until("connected")
            share = box.share(Sample("befund.pdf", "Befund", "finding", "application/pdf", [CONTENT]))
            yield Scene(portal, box, other, share)


# --- Records -----------------------------------------------------------------------------------------------------

HELLO, FINISHED, QUESTION = 0, 2, 3
SERVER_HELLO, SERVER_PROOF, ANSWER, AMID = 0, 2, 6, 30
ALERT, HANDSHAKE, APPLICATION = 21, 22, 23

SILENT = "the patient's hello left out"
BROKEN: dict[str, Carry] = {
    "the patient's hello changed": tls.changed("box", tls.flipped(HELLO)),
    SILENT: tls.changed("box", tls.dropped(HELLO)),
    "the patient's hello twice": tls.changed("box", tls.twice(HELLO)),
    "the patient's finish changed": tls.changed("box", tls.flipped(FINISHED)),
    "the patient's finish left out": tls.changed("box", tls.dropped(FINISHED)),
    "the question changed": tls.changed("box", tls.flipped(QUESTION)),
    "the question shortened": tls.changed("box", tls.shortened(QUESTION)),
    "the question before the finish": tls.changed("box", tls.swapped(FINISHED)),
    "an order of the portal's own": tls.changed("box", tls.inserted(QUESTION, APPLICATION)),
    "a handshake of the portal's own": tls.changed("box", tls.inserted(QUESTION, HANDSHAKE)),
    "the question called an alert": tls.changed("box", tls.retyped(QUESTION, ALERT)),
    "the box's hello changed": tls.changed("patient", tls.flipped(SERVER_HELLO)),
    "the box's hello twice": tls.changed("patient", tls.twice(SERVER_HELLO)),
    "the box's certificate changed": tls.changed("patient", tls.flipped(SERVER_PROOF)),
    "the box's certificate left out": tls.changed("patient", tls.dropped(SERVER_PROOF)),
    "the box's handshake in another order": tls.changed("patient", tls.swapped(SERVER_PROOF)),
    "the document changed": tls.changed("patient", tls.flipped(AMID)),
    "a part of the document left out": tls.changed("patient", tls.dropped(AMID)),
    "a part of the document twice": tls.changed("patient", tls.twice(AMID)),
    "parts of the document in another order": tls.changed("patient", tls.swapped(AMID)),
    "a part of the document shortened": tls.changed("patient", tls.shortened(AMID)),
    "bytes put into the document": tls.changed("patient", tls.inserted(AMID, APPLICATION)),
    "an alert put into the document": tls.changed("patient", tls.inserted(AMID, ALERT)),
    "the document cut": tls.changed("patient", tls.cut(AMID)),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_bytes_that_are_not_carried_as_they_are_end_the_connection(scene: Scene, name: str) -> None:
    await scene.refused_with(BROKEN[name], within_s=SILENCE_S if name == SILENT else 10.0)


@pytest.mark.parametrize("name", [name for name in BROKEN if "question" in name or "own" in name])
async def test_a_question_that_was_touched_reaches_no_vault(scene: Scene, name: str) -> None:
    """A PIN that the portal may delay or spoil is not tried, and no try is spent."""
    scene.portal.carry = BROKEN[name]
    before = scene.asked()
    async with scene.box.patient(scene.share) as patient:
        with pytest.raises(REFUSALS):
            await patient.offer(PIN)
    assert scene.asked() == before
    await scene.stands()


async def test_what_was_cut_goes_on_where_it_ended(scene: Scene) -> None:
    scene.portal.carry = BROKEN["the document cut"]
    file = scene.share.documents[0].file
    headers = {"Praxis-Locator": scene.share.locator, "Praxis-File": file}
    async with scene.box.patient(scene.share) as patient:
        received = bytearray()
        with pytest.raises(REFUSALS):
            async with patient.client.get(patient.origin + "/share/document", headers=headers) as response:
                async for piece in response.content.iter_any():
                    received += piece
        assert received
        scene.portal.carry = pass_on
        rest = await patient.sealed(file, Range=f"bytes={len(received)}-")
        assert (bytes(received) + rest.body) == (await patient.sealed(file)).body


# --- Who comes ---------------------------------------------------------------------------------------------------

SIGNATURE = encode_proxy_header(None)[:12]
NO_HEADERS = {
    "none": b"",
    "version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n",
    "noise": random.Random(12).randbytes(28),
    "another version": SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
    "an unknown command": SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
    "UDP": SIGNATURE + b"\x21\x12\0\x0c" + bytes(12),
    "a socket of the box": SIGNATURE + b"\x21\x31\0\xd8" + b"/run/praxissafe/vault.sock".ljust(216, b"\0"),
    "addresses cut short": SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
    "longer than allowed": SIGNATURE + b"\x21\x11\xff\xff" + bytes(65535),
    "said twice": encode_proxy_header(("192.0.2.1", 1)) * 2,
}


@pytest.mark.parametrize("name", NO_HEADERS)
async def test_a_connection_without_a_right_word_who_comes_is_ended(scene: Scene, name: str) -> None:
    scene.portal.introduction = lambda _: NO_HEADERS[name]
    try:
        async with scene.box.patient(scene.share) as patient:
            with pytest.raises(REFUSALS):
                await patient.offer(PIN)
    finally:
        scene.portal.introduction = encode_proxy_header
    await scene.stands()


LIES = {
    "nobody": encode_proxy_header(None),
    "another": encode_proxy_header(("203.0.113.9", 1)),
    "the box itself": encode_proxy_header(("127.0.0.1", 0)),
    "an IPv6 address": encode_proxy_header(("2001:db8::1", 65535)),
    "with more behind": SIGNATURE + b"\x21\x11\0\x20" + bytes(12) + bytes(20),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_lie_about_who_comes_changes_nothing_for_the_patient(scene: Scene, name: str) -> None:
    """The address only decides how many connections it may hold: lies win a hostile portal what it has, to turn patients away."""
    scene.portal.introduction = lambda _: LIES[name]
    try:
        await scene.stands()
    finally:
        scene.portal.introduction = encode_proxy_header


async def test_connections_that_say_nothing_are_held_to_the_address_limit_and_hold_up_nobody_else(
    scene: Scene,
) -> None:
    flood = [await scene.portal.order(scene.box.identity.box) for _ in range(ADDRESS_LIMIT + 10)]
    for line in flood:
        await line.write(encode_proxy_header(("192.0.2.66", 1)))
    # Which of them are turned away is gateway's choice; the others stay, and patients of other addresses come in.
    ended = [asyncio.ensure_future(line.read()) for line in flood]
    async with asyncio.timeout(10):
        while sum(task.done() for task in ended) < 10:
            await asyncio.sleep(0.02)
    await scene.stands()
    assert sum(task.done() for task in ended) == 10
    for line, task in zip(flood, ended, strict=True):
        task.cancel()
        line.close()
    await scene.stands()


# --- Replay ------------------------------------------------------------------------------------------------------


def recording(to_box: bytearray, to_patient: bytearray) -> Carry:
    async def carry(patient: Line, box: Line) -> None:
        async def copy(source: Line, target: Line, kept: bytearray) -> None:
            while data := await source.read():
                kept += data
                await target.write(data)
            target.end()

        await asyncio.gather(copy(patient, box, to_box), copy(box, patient, to_patient))

    return carry


async def test_a_patients_bytes_said_again_open_nothing_and_spend_no_try(scene: Scene) -> None:
    to_box, to_patient = bytearray(), bytearray()
    scene.portal.carry = recording(to_box, to_patient)
    async with scene.box.patient(scene.share) as patient:
        assert "r" in (await patient.offer(PIN)).json()
    await scene.portal.until(lambda: len(to_box) > 600)
    before = scene.asked()
    hello_bytes = 5 + int.from_bytes(to_box[3:5], "big")
    for wait_for_hello in (True, False):
        work = await scene.portal.order(scene.box.identity.box)
        await work.write(scene.portal.introduction(("192.0.2.1", 1)) + bytes(to_box[:hello_bytes]))
        answered = bytearray()
        if wait_for_hello:
            answered += await work.read()
            assert answered[:3] == to_patient[:3], "a ServerHello"
            assert answered[11:43] != to_patient[11:43], "with a random of its own"
        await work.write(bytes(to_box[hello_bytes:]))
        async with asyncio.timeout(10):
            while data := await work.read():
                answered += data
        work.close()
        assert len(answered) < len(to_patient), "no answer to the question"
    assert scene.asked() == before
    await scene.stands()


async def test_a_boxs_bytes_said_again_are_no_answer(scene: Scene) -> None:
    to_box, to_patient = bytearray(), bytearray()
    scene.portal.carry = recording(to_box, to_patient)
    async with scene.box.patient(scene.share) as patient:
        await patient.sealed(scene.share.documents[0].file)

    async def replay(patient: Line, _: Line) -> None:
        await patient.write(bytes(to_patient))
        await patient.read()

    await scene.refused_with(replay)


# --- Swapping ----------------------------------------------------------------------------------------------------


async def test_a_patient_who_is_sent_to_another_box_is_not_served_by_it(scene: Scene) -> None:
    names = scene.box.host_name, scene.other.host_name
    before = scene.other.vault.shown, scene.other.vault.opened
    scene.portal.homes[names[0]] = scene.other.identity.box
    try:
        for carry in (pass_on, tls.changed("box", tls.replaced(names[0].encode(), names[1].encode()))):
            scene.portal.carry = carry
            async with scene.box.patient(scene.share) as patient:
                with pytest.raises(REFUSALS):
                    await patient.offer(PIN)
    finally:
        scene.portal.homes[names[0]] = scene.box.identity.box
    assert (scene.other.vault.shown, scene.other.vault.opened) == before
    await scene.stands()


async def test_connections_that_are_crossed_after_the_handshake_end(scene: Scene) -> None:
    """Two patients, two boxes; from the first question on each box hears the other's patient."""
    lines: list[tuple[Line, Line]] = []
    asking = asyncio.Barrier(2)

    async def crossing(patient: Line, box: Line) -> None:
        mine = len(lines)
        lines.append((patient, box))

        async def to_box() -> None:
            number = 0
            async for record in tls.records(patient):
                if number == QUESTION:
                    await asking.wait()
                await (box if number < QUESTION else lines[1 - mine][1]).write(record)
                number += 1
            box.end()

        async def to_patient() -> None:
            while data := await box.read():
                await patient.write(data)
            patient.end()
            patient.close()

        await asyncio.gather(to_box(), to_patient())

    other_share = scene.other.share(Sample("anderes.txt", "Anderes", "finding", "text/plain", [b"other"]))
    before = (scene.asked(), scene.other.vault.shown, scene.other.vault.opened)
    scene.portal.carry = crossing
    async with scene.box.patient(scene.share) as one, scene.other.patient(other_share) as two:
        answers = await asyncio.gather(one.offer(PIN), two.offer(PIN), return_exceptions=True)
    assert all(isinstance(answer, REFUSALS) for answer in answers), answers
    assert (scene.asked(), scene.other.vault.shown, scene.other.vault.opened) == before
    await scene.stands()


# --- A page of the portal's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "certificate", ["its own authority's", "signed by itself", "for another name", "none at all"]
)
async def test_a_page_of_the_portals_own_is_not_loaded(scene: Scene, tmp_path: Path, certificate: str) -> None:
    heard = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            if certificate == "none at all":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
            else:
                heard.extend(await reader.read(65536))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        writer.close()

    context = {
        "its own authority's": lambda: page_context(tmp_path, scene.box.host_name, Authority()),
        "signed by itself": lambda: page_context(tmp_path, scene.box.host_name, None),
        "for another name": lambda: page_context(tmp_path, "another.localhost", scene.box.authority),
        "none at all": lambda: None,
    }[certificate]()
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)

    async def lead_there(patient: Line, _: Line) -> None:
        there = Line(*await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1]))
        await pass_on(patient, there)
        there.close()

    try:
        await scene.refused_with(lead_there)
    finally:
        server.close()
    assert not heard, "the patient's browser asked nothing there"


async def test_a_box_speaks_no_older_tls_whatever_the_portal_makes_of_a_hello(scene: Scene) -> None:
    context = ssl.create_default_context(cafile=str(scene.box.authority_path))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection(
            "127.0.0.1", scene.portal.port, ssl=context, server_hostname=scene.box.host_name
        )
    await scene.stands()
