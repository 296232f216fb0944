"""Shares of the box before: made anew in one go, printed as two papers each, or dropped."""

import re

import aiohttp
import pytest_asyncio

from appliance.practice import earlier_routes
from appliance.practice.pending_links import MAX_LINKS
from tests.practice.backup_peer import earlier_share


@pytest_asyncio.fixture
async def browser(bench):
    browser = await bench.claimed()
    for family in ("Mustermann", "Öztürk", "Wolke"):
        patient = await browser.add_patient(family)
        document = await browser.add_document(patient, title="Befund A")
        bench.documents.add(document)
        number = len(bench.earlier.shares) + 1
        bench.earlier.shares.append(earlier_share(number, patient, [document], f"{family}, Erika"))
    return browser


async def make_anew(browser, *numbers: int, path: str = "/shares/earlier", **more):
    fields = [("csrf", browser.csrf), *(("shares", f"{number:032x}") for number in numbers), *more.items()]
    return await browser.ask("POST", path, data=aiohttp.FormData(fields), headers={"Sec-Fetch-Site": "same-origin"})


async def test_all_are_ticked_and_each_is_made_anew_with_two_papers_of_its_own(bench, browser):
    assert "/shares/earlier" in (await browser.open("/shares")).text
    page = await browser.open("/shares/earlier")
    assert len(re.findall(r'name="shares" value="[0-9a-f]{32}" checked', page.text)) == 3
    page = await make_anew(browser, 1, 2, 3, valid_days="7")
    assert page.url.endswith("/shares/earlier/print")
    assert not bench.earlier.shares
    links = re.findall(r'href="/shares/([0-9a-f]{32})/link"', page.text)
    assert len(set(links)) == 3
    for left, share in ((2, links[0]), (1, links[1])):
        link = (await browser.open(f"/shares/{share}/link")).by_id("link")
        assert link not in page.text
        page = await browser.send(f"/shares/{share}/link-printed")
        assert page.by_id("pin")
        assert link not in page.text
        page = await browser.send(f"/shares/{share}/pin-printed")
        assert page.url.endswith("/shares/earlier/print?done=share_made"), "back to the list, not to the patient"
        assert len(re.findall(r'href="/shares/[0-9a-f]{32}/link"', page.text)) == left
    page = await browser.send(f"/shares/{links[2]}/link-printed")
    page = await browser.open("/shares/earlier/print")
    assert f"/shares/{links[2]}/pin" in page.text, "the PIN is still to be printed"
    page = await browser.send(f"/shares/{links[2]}/pin-printed")
    assert "Alles ist gedruckt" in page.text


async def test_only_what_is_ticked_is_made_and_the_rest_stays(bench, browser):
    await browser.open("/shares/earlier")
    await make_anew(browser, 2)
    assert [one.share[-1] for one in bench.earlier.shares] == ["1", "3"]
    for numbers, error in (((), "no_share_ticked"), ((2,), "no_share_ticked")):
        assert (await make_anew(browser, *numbers)).error == error
    assert (await make_anew(browser, 1, valid_days="91")).error == "valid_days"
    assert len(bench.earlier.shares) == 2


async def test_one_request_makes_a_bounded_number(bench, browser, monkeypatch):
    monkeypatch.setattr(earlier_routes, "AT_A_TIME", 2)
    page = await browser.open("/shares/earlier")
    assert page.text.count('name="shares"') == 2
    assert "Danach bleibt noch 1" in page.text
    refused = await make_anew(browser, 1, 2, 3)
    assert (refused.status, refused.error) == (422, "shares_many")
    assert len(bench.earlier.shares) == 3
    assert "Noch 1 Freigabe neu zu erstellen" in (await make_anew(browser, 1, 2)).text


async def test_a_share_whose_document_is_gone_stays_on_the_list_and_the_others_are_made(bench, browser):
    first = bench.earlier.shares[0]
    bench.earlier.shares[0] = earlier_share(1, first.patient, ["f" * 32])
    await browser.open("/shares/earlier")
    page = await make_anew(browser, 1, 2, 3)
    assert (page.status, page.error) == (404, "document")
    assert [one.share[-1] for one in bench.earlier.shares] == ["1"]
    assert "Noch 2 neue Freigaben zu drucken" in page.text


async def test_what_was_made_before_the_limit_is_off_the_list_and_nothing_is_lost(bench, browser):
    links = bench.desk.links
    await browser.open("/shares/earlier")
    for number in range(MAX_LINKS - 1):
        links.keep("another session", f"{number:032x}", "x", "0" * 32, 1, bench.clock())
    page = await make_anew(browser, 1, 2, 3)
    assert (page.status, page.error) == (409, "links_waiting")
    assert [one.share[-1] for one in bench.earlier.shares] == ["2", "3"]
    assert "Noch 1 neue Freigabe zu drucken" in page.text


async def test_dropping_is_asked_first(bench, browser):
    await browser.open("/shares/earlier")
    page = await make_anew(browser, 1, 3, path="/shares/earlier/drop")
    assert len(bench.earlier.shares) == 3
    assert "Mustermann, Erika" in page.text
    assert "Öztürk" not in page.text
    page = await make_anew(browser, 1, 3, path="/shares/earlier/drop", confirmed="yes")
    assert page.url.endswith("/shares/earlier?done=earlier_dropped")
    assert [one.share[-1] for one in bench.earlier.shares] == ["2"]


async def test_the_list_to_print_is_its_own_sessions_and_ends_with_it(bench, browser):
    await browser.open("/shares/earlier")
    await make_anew(browser, 1)
    other = await bench.browser()
    await other.log_in()
    assert "Alles ist gedruckt" in (await other.open("/shares/earlier/print")).text
    assert not re.search(r"/shares/[0-9a-f]{32}/", (await other.open("/shares/earlier/print")).text)
    await browser.send("/logout")
    assert not bench.desk.links._sets
    assert not bench.desk.links._links


async def test_a_revoked_share_is_not_to_be_printed(bench, browser):
    await browser.open("/shares/earlier")
    page = await make_anew(browser, 1)
    (share,) = re.findall(r'href="/shares/([0-9a-f]{32})/link"', page.text)
    await browser.send(f"/shares/{share}/revoke", {"confirmed": "yes"})
    assert "Alles ist gedruckt" in (await browser.open("/shares/earlier/print")).text


async def test_nothing_is_made_without_the_sessions_token(bench, browser):
    for path in ("/shares/earlier", "/shares/earlier/drop"):
        browser.csrf = "wrong"
        assert (await make_anew(browser, 1, path=path, confirmed="yes")).error == "csrf"
    assert len(bench.earlier.shares) == 3
