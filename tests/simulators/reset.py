"""The steps of a reset as people take them: claim, hold the button, type, wait until the box is empty."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable
from urllib.parse import urljoin

import aiohttp

from appliance.core.errors import Unavailable
from appliance.demo.browser import Browser, Page
from appliance.demo.processes import host_pids, inside
from tests.simulators.button import hold_button
from tests.simulators.demo_box import DemoBox
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


async def until(condition: Callable[[], bool], what: str) -> None:
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


async def until_empty(box: DemoBox) -> None:
    """Wait until the data are gone and the technician's door is open again."""
    kept = box.state / "box"
    gone = (kept / "vault/reset-cleared", kept / "practice/lan.key")
    await until(lambda: not any(path.exists() for path in gone), "the data are gone")
    await until(lambda: "enrol" in host_pids(box.state), "enrolment is open again")
