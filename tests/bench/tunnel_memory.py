"""The memory of the real box's tunnel and gateway: idle, and while 50 patients download at once, each on a slow line."""

from __future__ import annotations

import asyncio
import secrets

import aiohttp
from yarl import URL

from tests.bench.figures import Figure, Goal
from tests.bench.intake import MIB, document
from tests.bench.tunnel_programs import memory
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.patient import Patient
from tests.simulators.staff import staff_of

PROCESSES = ("tunnel", "gateway")
IDLE_GOAL = Goal(40, on="value", at_most=True)
BUSY_GOAL = Goal(100, on="value", at_most=True)
IDLE_S = 20.0
DOWNLOADS = 50
DOCUMENT_BYTES = 32 * MIB
#: Each patient takes so much at a time, and rests.
PIECE_BYTES = 64 * 1024
REST_S = 0.5
LOOKS = 10


def measure(*, short: bool = False) -> list[Figure]:
    """Start a box, look at both processes."""
    with running_box() as box:
        return asyncio.run(measure_box(box, short=short))


async def measure_box(box: DemoBox, *, short: bool = False) -> list[Figure]:
    """Look at both processes of a box that runs."""
    downloads = 3 if short else DOWNLOADS
    await asyncio.sleep(0 if short else IDLE_S)
    idle = _rss_mb(box)
    busy = await _while_downloading(box, downloads)
    return [
        *(Figure(f"resident memory idle, {name}", "MB", ((idle[name], None),), IDLE_GOAL) for name in PROCESSES),
        *(
            Figure(f"resident memory with {downloads} slow downloads, {name}", "MB", ((busy[name], None),))
            for name in PROCESSES
        ),
        Figure(
            f"resident memory with {downloads} slow downloads, tunnel and gateway together",
            "MB",
            ((sum(busy.values()), None),),
            BUSY_GOAL,
        ),
    ]


def _rss_mb(box: DemoBox) -> dict[str, float]:
    return {name: memory(box.pid(name)).rss / 1e6 for name in PROCESSES}


async def _while_downloading(box: DemoBox, downloads: int) -> dict[str, float]:
    """Give the most that each process had while all download."""
    async with staff_of(box) as staff:
        patient = await staff.create_patient(f"Speicher{secrets.token_hex(4)}")
        await staff.upload(patient, document(DOCUMENT_BYTES), name="b.pdf", media_type="application/pdf")
        link, pin = await staff.share(patient)
    async with Patient(link, box.portal_ca) as holder:
        ((found, _),) = await holder.open_documents(pin)
        headers = {"Praxis-Locator": holder.keys.locator, "Praxis-File": found.file}
        begun = [asyncio.Event() for _ in range(downloads)]
        readers = [asyncio.ensure_future(_read_slowly(holder, headers, one)) for one in begun]
        try:
            await asyncio.gather(*(asyncio.wait_for(one.wait(), 60) for one in begun))
            most = dict.fromkeys(PROCESSES, 0.0)
            for _ in range(LOOKS):
                now = _rss_mb(box)
                most = {name: max(most[name], now[name]) for name in PROCESSES}
                await asyncio.sleep(REST_S)
            assert not any(reader.done() for reader in readers), "all still download"
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
    return most


async def _read_slowly(holder: Patient, headers: dict[str, str], begun: asyncio.Event) -> None:
    client: aiohttp.ClientSession = holder.client
    async with client.get(URL(f"{holder.origin}/share/document", encoded=True), headers=headers) as answer:
        assert answer.status == 200, answer.status
        while await answer.content.read(PIECE_BYTES):
            begun.set()
            await asyncio.sleep(REST_S)
