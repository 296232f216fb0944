"""A box is reset from the login page by the printed code and its button, is empty, and is enrolled again."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urljoin

import aiohttp

from appliance.core.errors import Unavailable
from appliance.demo.browser import Browser, Page, open_browser
from appliance.demo.enrolment import SERIAL, enrol
from appliance.demo.places import REPOSITORY, Places, Ports
from appliance.demo.processes import host_pids, inside
from tests.attacks.canaries import Canaries, assert_nowhere
from tests.simulators.button import hold_button
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.staff import Staff

NAME, PASSWORD = "Sabine Keller", "ein kurzer Satz merkt sich"
PATIENCE_S = 90


async def send(browser: Browser, page: Page, path: str, **fill: str) -> Page:
    """Send the form to a path, whatever it is answered with."""
    form = page.form_to(path)
    return await browser._ask("POST", form.action, aiohttp.FormData({**form.fields, **fill}), origin=form.action)


async def claimed(box: DemoBox, browser: Browser, code: str, url: str) -> Staff:
    page = await browser.open(urljoin(url, "/claim"))
    fill = {"code": code, "practice_name": "Praxis", "telephone": "030 5550", "name": NAME}
    await browser.send(page.form("code"), {**fill, "password": PASSWORD, "password_again": PASSWORD})
    return Staff(browser, url)


async def until(condition, what: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, what
        await asyncio.sleep(0.1)


async def open_when_it_answers(browser: Browser, url: str) -> Page:
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(Unavailable):
            page = await browser.open(url)
            if page.status == 200:
                return page
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.2)


async def test_a_box_is_reset_over_its_page_and_enrolled_again(tmp_path: Path):
    with running_box(empty=True) as box:
        canaries = Canaries()
        async with open_browser(box.practice_ca) as browser:
            staff = await claimed(box, browser, box.claim_code, box.practice_url)
            patient = await staff.create_patient(canaries.plant("family"))
            await staff.upload(patient, canaries.plant("text").encode(), name="befund.txt")
        assert "enrolment_closed" in journal(box)
        async with open_browser(box.practice_ca) as browser:
            await reset(box, browser)
        kept = box.state / "box"
        await until(
            lambda: not (kept / "vault/reset-cleared").exists() and not (kept / "practice/lan.key").exists(), ""
        )
        await until(lambda: "enrol" in host_pids(box.state), "enrolment is open again")
        remains = [str(path.relative_to(kept)) for path in kept.rglob("*") if path.is_file()]
        assert not [path for path in remains if not path.startswith("audit/")], remains
        assert {"records", "practice", "gateway", "tunnel"}.isdisjoint(host_pids(box.state))
        assert not list((kept / "records/spool").iterdir())
        assert_nowhere(canaries.found_in_files([kept, box.state / "journal"])[0])
        assert "enrolment_closed" not in journal(box)
        await enrolled_again(box)


async def reset(box: DemoBox, browser: Browser) -> None:
    """Go from the login page to the end; refused without the button, and without the word."""
    login = await browser.open(urljoin(box.practice_url, "/login"))
    assert 'href="/reset"' in login.text
    page = await browser.open(urljoin(box.practice_url, "/reset"))
    refused = await send(browser, page, "/reset", code="0" * 20)
    assert "nicht der Code dieser Box" in refused.text
    page = await send(browser, refused, "/reset", code=box.claim_code.lower())
    finish = "/reset/finish"
    page = await send(browser, page, finish, word="Löschen")
    assert "nicht bemerkt" in page.text
    await asyncio.to_thread(hold_button, box.state, held_s=4.5)
    page = await send(browser, page, finish, word="löschen")
    assert "nicht bemerkt" in page.text
    await asyncio.to_thread(hold_button, box.state)
    page = await send(browser, page, finish, word="ja")
    assert "Wort zur Bestätigung fehlt" in page.text
    give_up_at = time.monotonic() + PATIENCE_S
    while "wird zurückgesetzt" not in page.text:
        page = await send(browser, page, finish, word="LÖSCHEN")
        assert time.monotonic() < give_up_at, page.text


def journal(box: DemoBox) -> str:
    subprocess.run([*inside(box.state), "journalctl", "--sync"], check=True)
    command = [*inside(box.state), "journalctl", "--output=cat", "--no-pager"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def enrolled_again(box: DemoBox) -> None:
    """Revoke the old identity, enrol under the same serial, claim: another box, with nothing in it."""
    places, ports = Places(box.state), Ports(box.port_base)
    words = [
        *(sys.executable, "-m", "provisioning.station", "revoke"),
        f"--portal-ca={places.world / 'portal/portal-ca.pem'}",
        f"--key={places.station / 'station.key'}",
        f"--folder={places.station}",
        SERIAL,
    ]
    revoked = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert revoked.returncode == 0, revoked.stderr
    async with asyncio.timeout(PATIENCE_S):
        console = await enrol(places, ports)
    assert console.box != box.said["box"]
    assert console.claim_code != box.claim_code
    await until((box.state / "box/practice/lan-ca.pem").exists, "the practice page's authority is there")
    url = f"https://{console.lan_host}:{ports.practice}/"
    async with open_browser(box.practice_ca) as browser:
        await open_when_it_answers(browser, urljoin(url, "/claim"))
        staff = await claimed(box, browser, console.claim_code, url)
        page = await staff.open("/patients")
        assert page.status == 200
        patient = await staff.create_patient("Sperling")
        await staff.upload(patient, b"neu", name="neu.txt")
        assert len(await staff.documents(patient)) == 1
