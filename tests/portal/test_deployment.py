"""The README's three relays behind HAProxy, really started: what a patient notices when a relay goes, and what not.

One deployment, one long test: each step begins with what the one before has left, as in a running house.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from appliance.formats import tunnel_control as control
from appliance.formats.registration import Asked
from appliance.formats.rendezvous import choose_relays
from tests.portal.deployment import Deployment, deployment
from tests.portal.simulated_box import PORTAL_NAME, SimulatedBox, control_client, patient_tls
from tests.portal.test_revocation import revocation

FRONT = "192.0.2.10:443"
RELAYS = {"192.0.2.11:443": "relay1", "192.0.2.12:443": "relay2", "192.0.2.13:443": "relay3"}
BACK_S = 10.0
SEED = 7


class DeployedBox(SimulatedBox):
    """A box that keeps a control connection to each of its two relays, and dials again when one hangs up."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.logged_in: set[str] = set()
        self.refused = 0

    async def enrol(self, house: House) -> None:
        """Come into the register, through the front."""
        status, body = await house.ask("/devices", msgspec.json.encode(self.application()))
        assert status == 202
        proof = self.answer(msgspec.json.decode(body, type=Asked))
        assert (await house.ask("/proofs", msgspec.json.encode(proof)))[0] == 201

    async def live(self, house: House, group: asyncio.TaskGroup) -> None:
        """Ask for the relays, and keep to two of them."""
        status, body = await house.ask("/relays")
        assert status == 200
        for relay in choose_relays(self.box, msgspec.json.decode(body)["relays"]):
            self._tasks.add(group.create_task(self._keep_to(relay, house, group)))

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _keep_to(self, relay: str, house: House, group: asyncio.TaskGroup) -> None:
        while True:
            with contextlib.suppress(OSError, aiohttp.ClientError):
                async with control_client(int(relay.rpartition(":")[2]), house.authority) as client:
                    if await self.log_in(client) == control.Accepted():
                        self.logged_in.add(relay)
                        await self._attend(client, group)
                    else:
                        self.refused += 1
            self.logged_in.discard(relay)
            await asyncio.sleep(0.2)

    async def _attend(self, client: object, group: asyncio.TaskGroup) -> None:
        await self._follow(client, group, self._greeted(self.tls_echo), None, "raw")  # type: ignore[arg-type]


class House:
    """The running deployment as boxes, stations and patients meet it: by the front, and the authority."""

    def __init__(self, running: Deployment, authority: Path) -> None:
        self.running = running
        self.authority = authority
        self.front = running.port(FRONT)

    async def ask(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Ask the portal's name through the front."""
        context = ssl.create_default_context(cafile=str(self.authority))
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as client,
            client.request(
                "GET" if body is None else "POST",
                f"https://127.0.0.1:{self.front}{path}",
                data=body,
                ssl=context,
                server_hostname=PORTAL_NAME,
            ) as answer,
        ):
            return answer.status, await answer.read()

    async def visit(self, box: SimulatedBox) -> bool:
        """Say whether a patient reaches this box through the front now."""
        try:
            async with asyncio.timeout(BACK_S):
                async with self.connected(box):
                    return True
        except (OSError, TimeoutError):
            return False

    @asynccontextmanager
    async def connected(self, box: SimulatedBox) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A patient who is connected to this box, and has been greeted by it."""
        reader, writer = await patient_tls(self.front, box)
        try:
            greeting = await reader.readline()
            if greeting != box.host_name.encode() + b"\n":
                raise ConnectionResetError
            yield reader, writer
        finally:
            writer.close()


async def until(condition: object, within_s: float = BACK_S) -> None:
    """Wait until `condition()` holds, at most for so long."""
    async with asyncio.timeout(within_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.05)


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    async with deployment(folder) as running:
        yield House(running, folder / "var-lib-praxissafe/registrar/portal-ca.pem")


async def echo(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> bytes:
    reader, writer = connection
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), BACK_S)


async def all_reached(at: House, boxes: list[DeployedBox]) -> bool:
    return all(await asyncio.gather(*(at.visit(box) for box in boxes)))


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_patients_go_on_while_relays_die_are_drained_and_boxes_are_revoked(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with tempfile.TemporaryDirectory(prefix="portal-") as short:  # HAProxy's socket has a short path
        async with house(Path(short)) as at, asyncio.TaskGroup() as group:
            boxes = [DeployedBox(tmp_path) for _ in range(6)]
            for box in boxes:
                await box.enrol(at)
            for box in boxes:
                await box.live(at, group)
            await until(lambda: all(len(box.logged_in) == 2 for box in boxes), 20)
            assert await all_reached(at, boxes)

            await _a_relay_is_killed(at, boxes, random.Random(SEED))
            await _a_relay_is_drained(at, boxes)
            await _a_box_is_revoked(at, boxes)
            for box in boxes:
                box.end()


def _name_of(at: House, relay: str) -> str:
    return next(name for address, name in RELAYS.items() if at.running.port(address) == int(relay.rpartition(":")[2]))


async def _a_relay_is_killed(at: House, boxes: list[DeployedBox], chance: random.Random) -> None:
    """Patients reach every box by its other relay, at once or within HAProxy's two checks; it comes back."""
    relay = sorted(chance.choice(boxes).logged_in)[0]
    concerned = [box for box in boxes if relay in box.logged_in]
    name = _name_of(at, relay)
    await at.running.kill(name)
    assert await all_reached(at, boxes)
    await until(lambda: all(relay not in box.logged_in for box in concerned))
    await at.running.start(name)
    await until(lambda: all(relay in box.logged_in for box in concerned))
    assert await all_reached(at, boxes)


async def _a_relay_is_drained(at: House, boxes: list[DeployedBox]) -> None:
    """Who is connected stays connected to the end; new patients come by the other relays."""
    async with contextlib.AsyncExitStack() as patients:
        connections = [await patients.enter_async_context(at.connected(box)) for box in boxes]
        relay = sorted(boxes[0].logged_in)[0]
        name = _name_of(at, relay)
        at.running.drain(name)
        concerned = [box for box in boxes if relay in box.logged_in]
        await until(lambda: all(relay not in box.logged_in for box in concerned))
        assert await all_reached(at, boxes)
        for number, connection in enumerate(connections):
            assert await echo(connection, b"still here %d" % number) == b"still here %d" % number
    process = at.running.processes.pop(name)
    async with asyncio.timeout(BACK_S):
        _, written = await process.communicate()
    assert process.returncode == 0, written
    await at.running.start(name)
    await until(lambda: all(relay in box.logged_in for box in concerned))


async def _a_box_is_revoked(at: House, boxes: list[DeployedBox]) -> None:
    """Gone from every relay, for good; nobody else notices."""
    gone, *others = boxes
    status, _ = await at.ask("/revocations", msgspec.json.encode(revocation(gone)))
    assert status == 200
    await until(lambda: not gone.logged_in and gone.refused)
    assert not await at.visit(gone)
    assert await all_reached(at, others)
    assert all(len(box.logged_in) == 2 for box in others)
