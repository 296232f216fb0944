"""The box is locked while people work, and opened again; and at each cold start it waits for what the practice chose."""

import asyncio
import contextlib
import secrets
import time
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest

from appliance.core.errors import Unavailable
from appliance.demo.browser import Browser, Page, open_browser
from appliance.demo.processes import host_pids
from appliance.formats import share_link
from appliance.formats.share_manifest import open_manifest
from tests.attacks.process_memory import descriptors
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.patient import Patient, from_base64url
from tests.simulators.staff import Staff

NAME, PASSWORD, PIN = "Sabine Keller", "ein kurzer Satz merkt sich", "314159"
#: More than all buffers between records and a browser that does not read.
LARGE = 48 * 1024 * 1024
PATIENCE_S = 60


async def answered(browser: Browser, url: str, until: str) -> Page:
    """Open the practice page until it leads to this path: a process that was ended is started again."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(Unavailable):
            page = await browser.open(url)
            if page.url.partition("?")[0].endswith(until):
                return page
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.2)


async def send(browser: Browser, page: Page, path: str, **fill: str) -> Page:
    """Send the form to a path, whatever it is answered with."""
    form = page.form_to(path)
    data = aiohttp.FormData({**form.fields, **fill})
    return await browser._ask("POST", form.action, data, origin=form.action)


async def claimed(box: DemoBox, browser: Browser) -> Staff:
    page = await browser.open(urljoin(box.practice_url, "/claim"))
    fill = {"code": box.claim_code, "practice_name": "Praxis", "telephone": "030 5550", "name": NAME}
    await browser.send(page.form("code"), {**fill, "password": PASSWORD, "password_again": PASSWORD})
    return Staff(browser, box.practice_url)


async def choose(browser: Browser, box: DemoBox, way: str, **pins: str) -> str:
    """Log in, choose how the box opens, give the spare code."""
    staff = Staff(browser, box.practice_url)
    await staff.log_in(NAME, PASSWORD)
    page = await staff.open("/unlocking")
    page = await send(browser, page, "/unlocking", way=way, label="Anmeldung", password=PASSWORD, **pins)
    spare = page.by_id["spare-code"]
    page = await send(browser, page, "/unlocking/accept", code=spare[-5:])
    assert page.url.endswith("done=unlocking_chosen")
    return spare


async def running(box: DemoBox) -> list[int]:
    """Give the processes of the box, once records is among them again."""
    give_up_at = time.monotonic() + PATIENCE_S
    while "records" not in (pids := host_pids(box.state)):
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.1)
    return list(pids.values())


async def lock_now(box: DemoBox, browser: Browser, staff: Staff) -> None:
    """Lock while a patient and a member of staff are in the middle of a transfer."""
    patient = await staff.create_patient("Sperling")
    await staff.upload(patient, b"a" * LARGE, name="gross.txt")
    (document,) = await staff.documents(patient)
    link, pin = await staff.share(patient)
    before = host_pids(box.state)
    async with Patient(link, box.portal_ca) as person, Patient(link, box.portal_ca) as stranger:
        release = (await person.offer(pin)).json()
        assert release["r"]
        sealed = await sealed_name(person, release)
        headers = {"Praxis-Locator": person.keys.locator, "Praxis-File": sealed}
        url = urljoin(box.practice_url, f"/documents/{document}/download")
        async with (
            person.client.get(f"{person.origin}/share/document", headers=headers) as for_patient,
            browser._session.get(url, ssl=browser._trust) as for_staff,
        ):
            assert len(await for_patient.content.readexactly(65536)) == len(
                await for_staff.content.readexactly(65536)
            )
            lock_page = await staff.open("/lock")
            pressed_at = time.monotonic()
            locking = asyncio.create_task(send(browser, lock_page, "/lock"))
            ended_after_s: dict[str, float] = {}
            while missing := {"records", "vault", "practice"} - set(ended_after_s):
                assert time.monotonic() < pressed_at + PATIENCE_S
                for name in missing:
                    if not Path(f"/proc/{before[name]}").exists():
                        ended_after_s[name] = round(time.monotonic() - pressed_at, 2)
                await asyncio.sleep(0.01)
            print("ended after (s):", ended_after_s)
            assert "gesperrt" in (await locking).text
            for transfer in (for_patient, for_staff):
                with pytest.raises(aiohttp.ClientError):
                    await transfer.content.readexactly(LARGE - 65536)
        async with open_browser(box.practice_ca) as other:
            for path in ("/", "/patients", "/login"):
                page = await answered(other, urljoin(box.practice_url, path), "/unlock")
                assert page.status == 503
        assert not any(
            "records.db" in name for process in await running(box) for name in descriptors(process).values()
        )
        right, wrong = await person.state(), await stranger.state(secrets.token_bytes(32))
        assert (right.status, right.body) == (wrong.status, wrong.body) == (503, b'{"state":"unavailable"}')
        assert (await person.manifest()).body == right.body
        assert (await person.sealed(sealed)).body == right.body


async def sealed_name(person: Patient, release: dict[str, str]) -> str:
    """Give the first document's file name, as the page finds it in the manifest."""
    keys, box = person.keys, bytes.fromhex(release["box"])
    key = share_link.manifest_key(keys.wrap_key, from_base64url(release["r"]))
    manifest = open_manifest((await person.manifest()).body, key, box, keys.locator, release["expires_at"])
    return manifest.documents[0].file


async def open_cold(box: DemoBox, browser: Browser, way: str) -> None:
    """At the page of the locked box: be refused without what the way asks for, then open it."""
    page = await answered(browser, box.practice_url, "/unlock")
    fill = {"password": {"name": NAME, "password": PASSWORD}, "pin": {"pin": PIN}, "computer": {}}[way]
    async with open_browser(box.practice_ca) as stranger:
        page_of_stranger = await answered(stranger, box.practice_url, "/unlock")
        wrong = {**fill, "password": "falsch falsch falsch"} if way == "password" else {**fill, "code": "A" * 20}
        refused = await send(stranger, page_of_stranger, "/unlock", **wrong)
        assert refused.status == 403
    await send(browser, page, "/unlock", **fill)


@contextlib.asynccontextmanager
async def cold_start(box: DemoBox, browser: Browser, way: str):
    """Start the container anew after its end; it is ready once it was opened."""
    starting = running_box(empty=True, state=box.state, port_base=box.port_base)
    entering = asyncio.create_task(asyncio.to_thread(starting.__enter__))
    try:
        await open_cold(box, browser, way)
        yield await entering
    finally:
        await entering
        await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_lock_now_ends_everything_and_each_way_opens_a_cold_box():
    with running_box(empty=True) as box:
        async with open_browser(box.practice_ca) as browser:
            await lock_now(box, browser, await claimed(box, browser))
            box.process.terminate()
            await asyncio.to_thread(box.process.wait, 60)
            async with cold_start(box, browser, "password") as again:
                staff = Staff(browser, again.practice_url)
                await staff.log_in(NAME, PASSWORD)
                await staff.make_kit(PASSWORD)
                await choose(browser, again, "pin", pin=PIN, pin_again=PIN)
            async with cold_start(box, browser, "pin") as again:
                await choose(browser, again, "computer")
            async with cold_start(box, browser, "computer") as again:
                page = await Staff(browser, again.practice_url).log_in(NAME, PASSWORD)
                assert page.url.endswith("/patients")
