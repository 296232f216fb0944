"""Locking from the page, the one page while locked, and choosing how the box opens."""

import asyncio
import contextlib
import re
import socket

import pytest
import pytest_asyncio

from appliance.contracts.vault import DescribeOpening
from appliance.core.errors import Unavailable
from appliance.practice import locked_page
from appliance.practice.computer_cookie import COOKIE, UNLOCK_PATH
from appliance.practice.settings import PracticeSettings
from tests.practice.bench import NAME, PASSWORD

PIN, WRONG_PIN = "314159", "271828"


@contextlib.asynccontextmanager
async def locked(bench, browser):
    """Serve the page of the locked box, and have the browser look at it; gives the task that ends when it is open."""
    vault = bench.desk.peers.vault
    why = (await vault.ask(DescribeOpening())).why
    assert why
    before = browser.origin
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser.origin = f"https://{bench.host}:{listener.getsockname()[1]}"
        showing = asyncio.create_task(
            locked_page.show_locked_page(listener, PracticeSettings(state=bench.folder / "practice"), vault, why)
        )
        try:
            yield showing
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            browser.origin = before


@pytest_asyncio.fixture
async def browser(bench):
    browser = await bench.claimed()
    await browser.make_kit()
    return browser


async def choose(browser, way, **more):
    fields = {"way": way, "label": "Anmeldung", "pin": "", "pin_again": "", "password": PASSWORD, **more}
    return await browser.send("/unlocking", fields)


async def chosen(browser, way, **more):
    """Choose, and type the spare code's end back from the paper; give the code."""
    spare = (await choose(browser, way, **more)).by_id("spare-code")
    accepted = await browser.send("/unlocking/accept", {"code": spare[-5:]})
    assert "done=unlocking_chosen" in accepted.url
    return spare


async def lock(browser):
    await browser.open("/lock")
    answer = await browser.send("/lock", follow=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_the_lock_is_two_steps_from_every_page_and_every_page_says_so_then(bench, browser):
    assert 'href="/lock"' in (await browser.open("/patients")).text
    other = await bench.browser()
    await lock(browser)
    for who, path in ((browser, "/patients"), (other, "/login"), (other, "/")):
        answer = await who.open(path)
        assert (answer.status, answer.error) == (503, "locked"), path
        assert answer.headers["Refresh"]


async def test_a_password_opens_the_locked_box_and_the_page_ends(bench, browser):
    await lock(browser)
    async with locked(bench, browser) as showing:
        led = await browser.open("/patients")
        assert led.url.endswith(UNLOCK_PATH)
        assert led.status == 503
        assert "Name und Passwort" in led.text
        wrong = await browser.send(UNLOCK_PATH, {"name": NAME, "password": "wrong horse battery"})
        assert wrong.error == "login"
        assert not showing.done()
        answer = await browser.send(UNLOCK_PATH, {"name": NAME, "password": PASSWORD}, follow=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        await asyncio.wait_for(showing, 20)
    bench.desk.guard.is_locked = False  # as after its new start
    await browser.log_in()
    assert (await browser.open("/patients")).status == 200


@pytest.mark.parametrize("way", ["pin", "computer"])
async def test_the_browser_that_chose_opens_the_box_and_another_one_needs_the_spare_code(bench, browser, way):
    pins = {"pin": PIN, "pin_again": PIN} if way == "pin" else {}
    spare = await chosen(browser, way, **pins)
    cookie = browser.cookies[COOKIE]
    assert (cookie["path"], cookie["secure"], cookie["httponly"], cookie["samesite"]) == (
        UNLOCK_PATH,
        True,
        True,
        "Strict",
    )
    assert cookie.value not in "".join(answer.text for answer in bench.answers if b"html" in answer.body)
    typed = {"pin": PIN} if way == "pin" else {}
    other = await bench.browser()
    for who, code in ((browser, {}), (other, {"code": spare.lower()})):
        await browser.log_in()
        await lock(browser)
        async with locked(bench, who) as showing:
            page = await who.open(UNLOCK_PATH)
            assert ("ist gekoppelt" in page.text) == (who is browser)
            if who is other:
                refused = await who.send(UNLOCK_PATH, {**typed, "code": "AAAAA-AAAAA-AAAAA-AAAAA"})
                assert refused.error == "computer"
            await who.send(UNLOCK_PATH, {**typed, **code}, follow=False)
            await asyncio.wait_for(showing, 20)
        bench.desk.guard.is_locked = False  # as after its new start


async def test_wrong_pins_are_told_with_the_tries_left_and_then_with_the_wait(bench, browser):
    await chosen(browser, "pin", pin=PIN, pin_again=PIN)
    await lock(browser)
    async with locked(bench, browser):
        wrong = await browser.send(UNLOCK_PATH, {"pin": WRONG_PIN})
        assert wrong.error == "unlock_pin"
        assert "Noch 9 Versuche" in wrong.text
        for _ in range(9):
            last = await browser.send(UNLOCK_PATH, {"pin": WRONG_PIN})
        assert (last.status, last.error) == (429, "pin_lockout")
        assert "höchstens 30 Minuten" in (await browser.open(UNLOCK_PATH)).text


async def test_no_other_site_opens_the_box_with_a_paired_browser(bench, browser):
    await chosen(browser, "computer")
    await lock(browser)
    async with locked(bench, browser):
        for headers, status in (
            ({"Host": "evil.example"}, 421),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Origin": "https://evil.example"}, 403),
        ):
            answer = await browser.send(UNLOCK_PATH, headers=headers, follow=False)
            assert answer.status == status
            assert (await bench.desk.peers.vault.ask(DescribeOpening())).state == "locked"


async def test_a_paired_computer_is_chosen_only_once_there_are_emergency_sheets(bench):
    browser = await bench.claimed()
    page = await browser.open("/unlocking")
    assert 'id="kit-first"' in page.text
    assert 'href="/kit"' in page.text
    assert 'name="way"' not in page.text
    for way in ("pin", "computer"):
        refused = await choose(browser, way, pin=PIN, pin_again=PIN)
        assert (refused.status, refused.error) == (403, "unlocking_needs_kit")
    assert "öffnet sich die Box von selbst" in (await browser.open("/unlocking")).text
    await browser.make_kit()
    page = await browser.open("/unlocking")
    assert 'id="kit-first"' not in page.text
    assert 'value="computer"' in page.text
    await chosen(browser, "computer")


async def test_a_choice_that_cannot_be_is_refused_in_words_and_changes_nothing(browser):
    await browser.open("/unlocking")
    for fields, error in (
        ({"way": "pin", "pin": "12345", "pin_again": "12345"}, "pin_form"),
        ({"way": "pin", "pin": "123456", "pin_again": "123456"}, "pin_easy"),
        ({"way": "pin", "pin": "222222", "pin_again": "222222"}, "pin_easy"),
        ({"way": "pin", "pin": PIN, "pin_again": WRONG_PIN}, "pin_repeat"),
        ({"way": "nothing"}, "unlock_way"),
        ({"way": "computer", "label": ""}, "field_empty"),
        ({"way": "computer", "password": "wrong horse battery"}, "login"),
    ):
        answer = await choose(browser, **fields)
        assert answer.error == error
        assert "öffnet sich die Box von selbst" in (await browser.open("/unlocking")).text


async def test_a_choice_counts_when_the_code_is_typed_back_and_a_wrong_one_changes_nothing(browser):
    spare = (await choose(browser, "computer")).by_id("spare-code")
    wrong = await browser.send("/unlocking/accept", {"code": "UUUUU"})
    assert (wrong.status, wrong.error) == (403, "spare_code")
    assert spare not in wrong.text
    assert COOKIE not in browser.cookies
    assert "öffnet sich die Box von selbst" in (await browser.open("/unlocking")).text
    assert "done=unlocking_chosen" in (await browser.send("/unlocking/accept", {"code": spare})).url
    assert (await browser.send("/unlocking/accept", {"code": spare})).error == "unlocking_choice"
    assert "öffnet sich die Box mit einem gekoppelten Computer" in (await browser.open("/unlocking")).text


async def test_a_computer_is_paired_and_removed_on_the_page(bench, browser):
    await chosen(browser, "computer")
    second = await bench.browser()
    await second.log_in()
    await second.open("/unlocking")
    await second.send("/unlocking/pair", {"pair_label": "Labor", "password": PASSWORD})
    page = await browser.open("/unlocking")
    assert "Labor" in page.text
    assert "Ersatzcode auf Papier" in page.text
    for link in re.findall(r'href="(/unlocking/[0-9a-f]{32}/remove)"', page.text)[:2]:
        await browser.open(link)
        assert "done=computer_removed" in (await browser.send(link, {"confirmed": "yes"})).url
    (last,) = re.findall(r'href="(/unlocking/[0-9a-f]{32}/remove)"', (await browser.open("/unlocking")).text)
    await browser.open(last)
    assert (await browser.send(last, {"confirmed": "yes"})).error == "last_computer"
    await lock(browser)
    async with locked(bench, second) as showing:
        await second.send(UNLOCK_PATH, follow=False)
        await asyncio.wait_for(showing, 20)


async def test_a_box_no_browser_knows_shows_no_page(tmp_path, bench):
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(Unavailable, match="locked"):
        await locked_page.show_locked_page(listener, PracticeSettings(state=tmp_path), bench.desk.peers.vault, "pin")
