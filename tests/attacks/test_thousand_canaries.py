"""A12: of a thousand questions and answers nothing is with the portal or on the wire, in each of the three modes.

Portal, tunnel and gateway are processes of their own; a router decides which mode gets through. Every question has a canary in
its path or body, every answer one in its body. The canary is looked for in the portal's memory, files and standard error, in tunnel's memory and
journal, gateway's journal, and in all that passed on both sides of the portal. Each place has a control that must be found there.
Needs root, for memory and wire.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from appliance.formats.tunnel_control import WORK_PREFIX
from tests.attacks.canaries import Canaries
from tests.attacks.process_memory import memory_pieces
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox
from tests.simulators.outer_box import OuterBox, outer_box
from tests.simulators.patient_side import MadeShare
from tests.simulators.portal_process import PortalProcess, portal_process
from tests.simulators.router import Router, router
from tests.simulators.sample_documents import Sample
from tests.simulators.wire import Wire, tapped

#: Of three questions each, in each of three modes.
ROUNDS = 112
PATIENTS = 16


def lets_everything(_: Router) -> Callable[[str], bool]:
    return lambda _: True


def lets_tls(_: Router) -> Callable[[str], bool]:
    return lambda kind: kind == "tls"


def lets_one_connection(one: Router) -> Callable[[str], bool]:
    return lambda _: not one.ways


MODES = {"raw": lets_everything, "wrapped": lets_tls, "streams": lets_one_connection}


async def ask(box: OuterBox, share: MadeShare, canaries: Canaries, first: int) -> int:
    """One patient's part of the thousand; gives how many answers held their canary."""
    right = 0
    async with box.patient(share) as patient:
        for number in range(first, ROUNDS, PATIENTS):
            path = await patient.ask("GET", f"/{canaries.mark}path{number:04}")
            assert path.status == 404
            body = f'{{"proof":"{canaries.mark}body{number:04}"}}'.encode()
            state = await patient.ask("POST", "/api/state", data=body, headers={"Content-Type": "application/json"})
            assert b"unknown" in state.body
            answer = await patient.sealed(f"{number:032x}")
            right += answer.body.startswith(f"{canaries.mark}answer{number:04}".encode())
    return right


def spread(share: MadeShare, canaries: Canaries) -> None:
    """Put an answer for every question where gateway reads: bytes that nobody sealed, so that they can be searched for."""
    for number in range(ROUNDS):
        (share.folder / f"{number:032x}").write_text(f"{canaries.mark}answer{number:04}" * 20)


@asynccontextmanager
async def half_a_question(portal: PortalProcess, path: str) -> AsyncIterator[None]:
    """Ask the portal itself, and do not come to an end: what is asked stays in its memory meanwhile."""
    context = ssl.create_default_context(cafile=str(portal.authority_path))
    _, writer = await asyncio.open_connection("127.0.0.1", portal.port, ssl=context, server_hostname=PORTAL_NAME)
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: ".encode())
    await writer.drain()
    try:
        yield
    finally:
        writer.close()


@pytest.mark.parametrize("mode", MODES)
async def test_of_a_thousand_questions_and_answers_nothing_is_with_the_portal(tmp_path: Path, mode: str) -> None:
    canaries, control = Canaries(), Canaries()
    identity = SimulatedBox(tmp_path)
    async with portal_process(tmp_path / "portal", identity) as portal, router(portal.port) as way:
        way.lets = MODES[mode](way)
        async with outer_box(
            tmp_path / "box", way.port, portal.authority_path, identity=identity, page_port=portal.port
        ) as box:
            await box.until("connected", spares=4 if mode != "streams" else 0, mode=mode)
            share = box.share(Sample("a.txt", "a", "finding", "text/plain", [b"a"]))
            spread(share, canaries)
            with tapped([portal.port]) as wire:
                rights = await asyncio.gather(*(ask(box, share, canaries, first) for first in range(PATIENTS)))
                assert sum(rights) == ROUNDS
                assert getattr(await box.state(), "mode", mode) == mode
                async with half_a_question(portal, control.plant_ascii("question")):
                    while control.found_in_pieces(memory_pieces(portal.process.pid)) != {"question"}:
                        await asyncio.sleep(0.05)
                    places = {
                        "the portal's memory": memory_pieces(portal.process.pid),
                        "tunnel's memory": memory_pieces(box.processes["tunnel"].pid),
                    }
                    found = {place for place, pieces in places.items() if canaries.found_in_pieces(pieces)}
            assert not found
            assert canaries.found_in_pieces(memory_pieces(os.getpid())), "the control: the patients' own process"
            files_are_clean(portal, box, canaries)
    wire_is_clean(wire, portal, box, canaries, mode)


def files_are_clean(portal: PortalProcess, box: OuterBox, canaries: Canaries) -> None:
    """Look through the portal's files, and all that the three processes said."""
    found, read = canaries.found_in_files([portal.folder])
    assert not found
    assert read > 4
    known = Canaries()
    known.watch_for("name", box.host_name)
    assert known.found_in_files([portal.folder])[0], "the control: whose box it is"
    said = {"portal": portal.said(), "tunnel": box.said("tunnel"), "gateway": box.said("gateway")}
    assert "ready" in said["portal"]
    assert "portal_connected" in said["tunnel"]
    assert "confined" in said["gateway"]
    assert not [name for name, text in said.items() if canaries.found_in(text.encode())]


def wire_is_clean(wire: Wire, portal: PortalProcess, box: OuterBox, canaries: Canaries, mode: str) -> None:
    """Look at what passed between patients and portal, and between portal and box."""
    assert wire.lost == 0
    to_portal = [bytes(stream) for (_, to), stream in wire.streams.items() if to == portal.port]
    from_patients = [stream for stream in to_portal if box.host_name.encode() in stream[:1000]]
    from_box = [stream for stream in to_portal if stream not in from_patients]
    assert len(from_patients) >= PATIENTS, "the control: the box's name passes in the clear"
    assert bool([stream for stream in from_box if stream.startswith(WORK_PREFIX)]) == (mode == "raw")
    assert sum(map(len, from_box)) > ROUNDS * 300, "answers passed here"
    assert not canaries.found_in_pieces(wire.pieces)
