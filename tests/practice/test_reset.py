"""The pages of the factory reset: from the login page, from the page of a locked box, and when vault is shut."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket

import pytest
import pytest_asyncio

from appliance.contracts.vault import (
    AcceptKitSheet,
    BeginReset,
    DescribeOpening,
    LogIn,
    MakeKit,
    NotePresence,
)
from appliance.core.errors import Refused
from appliance.core.varlink import Caller
from appliance.formats.kit_sheets import CHECKED_WORDS
from appliance.practice import locked_page, shut_page
from appliance.practice.settings import PracticeSettings
from appliance.vault.reset import BEGUN_MARK
from tests.practice.bench import NAME, PASSWORD

FOREIGN = {"Origin": "https://guest.example", "Sec-Fetch-Site": "cross-site"}


@pytest_asyncio.fixture
async def browser(bench):
    await bench.claimed()
    return await bench.browser()  # logged in nowhere


async def hold(bench):
    await bench.vault[NotePresence](NotePresence(), Caller("presence"))


def ticket(answer) -> str:
    found = re.search(r'name="ticket" value="([^"]*)"', answer.text)
    return found[1] if found else ""


def is_begun(bench) -> bool:
    return (bench.folder / "vault" / BEGUN_MARK).exists()


@contextlib.asynccontextmanager
async def beside(bench, browser, show, why):
    """Serve the one page that practice has while vault is locked or shut."""
    before = browser.origin
    with socket.create_server(("127.0.0.1", 0)) as listener:
        browser.origin = f"https://{bench.host}:{listener.getsockname()[1]}"
        settings = PracticeSettings(state=bench.folder / "practice")
        showing = asyncio.create_task(show(listener, settings, bench.desk.peers.vault, why))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            browser.origin = before


async def walk(bench, browser):
    """Go all the way; each step refuses first."""
    page = await browser.open("/reset")
    assert page.status == 200
    assert "Alles wird gelöscht" in page.text
    assert (await browser.send("/reset", {"code": ""})).error == "field_empty"
    foreign = await browser.send("/reset", {"code": bench.claim_code}, headers=FOREIGN)
    assert (foreign.status, foreign.error) == (403, "origin")
    wrong = await browser.send("/reset", {"code": "0" * 20})
    assert (wrong.status, wrong.error, ticket(wrong)) == (403, "reset_code", "")
    begun = await browser.send("/reset", {"code": bench.claim_code.lower()})
    assert begun.status == 200
    assert "fünf Sekunden" in begun.text
    assert bench.claim_code not in begun.text
    held = {"ticket": ticket(begun)}
    page = await browser.send("/reset/finish", {**held, "word": "löschen"})
    assert (page.status, page.error, ticket(page)) == (403, "reset_presence", ticket(begun))
    await hold(bench)
    page = await browser.send("/reset/finish", {**held, "word": "ja"})
    assert (page.error, ticket(page)) == ("reset_word", ticket(begun))
    page = await browser.send("/reset/finish", {"ticket": "x" * 43, "word": "löschen"})
    assert (page.error, ticket(page)) == ("reset_ticket", "")
    assert not is_begun(bench)
    page = await browser.send("/reset/finish", {**held, "word": " DELETE "})
    assert page.status == 200
    assert "wird zurückgesetzt" in page.text
    assert is_begun(bench)
    assert not browser.cookies


async def test_from_the_login_page_without_a_session(bench, browser):
    assert 'href="/reset"' in (await browser.open("/login")).text
    await walk(bench, browser)
    assert (await bench.desk.peers.vault.ask(DescribeOpening())).why == "resetting"


async def test_from_the_page_of_a_locked_box(bench, browser):
    staff = await bench.browser()
    await staff.log_in()
    await staff.open("/lock")
    await staff.send("/lock", follow=False)
    async with beside(bench, browser, locked_page.show_locked_page, "password"):
        assert 'href="/reset"' in (await browser.open("/unlock")).text
        await walk(bench, browser)


async def test_when_vault_is_shut(bench, browser):
    async with beside(bench, browser, shut_page.show_shut_page, "boot_image"):
        page = await browser.open("/patients")
        assert page.status == 503
        assert 'href="/reset?language=de"' in page.text
        assert 'href="/reset?language=en"' in page.text
        await walk(bench, browser)


async def test_two_sheets_as_they_are_typed(bench, browser):
    vault = bench.desk.peers.vault
    session = (await vault.ask(LogIn(name=NAME, password=PASSWORD))).session
    new = await vault.ask(MakeKit(session=session, password=PASSWORD))
    for number, sheet in enumerate(new.sheets, start=1):
        words = [sheet.split()[place - 1] for place in CHECKED_WORDS[:2]]
        await vault.ask(AcceptKitSheet(session=session, kit=new.kit, sheet=number, words=words))
    first, second, _ = new.sheets
    alone = await browser.send("/reset", {"first": first})
    assert alone.error == "field_empty"
    assert "<details open>" in alone.text
    both = await browser.send("/reset", {"first": first, "second": second, "code": bench.claim_code})
    assert both.error == "reset_right"
    broken = await browser.send("/reset", {"first": first, "second": second.replace(second.split()[9], "zebra")})
    assert broken.error.startswith("kit_word")
    typed = "\r\n".join(f"{place}. {word[:4].upper()}" for place, word in enumerate(second.split(), start=1))
    begun = await browser.send("/reset", {"first": first, "second": typed})
    assert ticket(begun), begun.error
    for word in set(first.split()):
        assert f">{word}<" not in begun.text


async def test_a_page_of_somebody_else_begins_and_ends_nothing(bench, browser):
    await hold(bench)
    page = await browser.send("/reset", {"code": bench.claim_code}, headers=FOREIGN)
    assert (page.status, page.error) == (403, "origin")
    begun = await browser.send("/reset", {"code": bench.claim_code})
    page = await browser.send("/reset/finish", {"ticket": ticket(begun), "word": "löschen"}, headers=FOREIGN)
    assert (page.status, page.error) == (403, "origin")
    assert not is_begun(bench)


async def test_a_guest_on_the_network_is_slowed_down(bench, browser):
    for _ in range(5):
        assert (await browser.send("/reset", {"code": "1" * 20})).error == "reset_code"
    slowed = await browser.send("/reset", {"code": "1" * 20})
    assert (slowed.status, slowed.error) == (429, "slow_down")


async def test_a_captured_practice_cannot_say_that_somebody_stands_at_the_box(bench, browser):
    vault = bench.desk.peers.vault
    begun = await vault.ask(BeginReset(code=bench.claim_code))
    with pytest.raises(Refused, match="caller"):
        await vault.ask(NotePresence())
    page = await browser.send("/reset/finish", {"ticket": begun.ticket, "word": "löschen"})
    assert page.error == "reset_presence"
    assert not is_begun(bench)


@pytest.mark.parametrize(("language", "words"), [("de", "Box zurücksetzen"), ("en", "Reset the box")])
async def test_the_pages_are_there_in_both_languages(bench, browser, language, words):
    page = await browser.open(f"/reset?language={language}")
    assert words in page.text
    assert page.headers["Content-Language"] == language
    begun = await browser.send(f"/reset?language={language}", {"code": bench.claim_code})
    assert words in begun.text
    assert {"de": "LÖSCHEN", "en": "DELETE"}[language] in begun.text
