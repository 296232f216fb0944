"""Every page of the box, in both languages, as people with other eyes, hands and devices meet it.

The tour itself notices script errors, policy violations, failed requests and requests to hosts that are not the
box's. Sources: WCAG 2.2; the rules of axe-core, its best practices too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from appliance.practice.reset_page import FINISH_PATH, RESET_PATH
from tests.browser.accessibility import DESKTOP, SMALL_PHONE, axe_findings, look_at, look_enlarged
from tests.browser.chromium import opened_chromium
from tests.browser.on_paper import look_on_paper
from tests.browser.practice_pages import PracticePages
from tests.browser.tour import Seen, tour
from tests.simulators.demo_box import running_box

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PRACTICE = Path(__file__).parents[2] / "appliance/practice"
#: Addresses that are no pages: files, sheets and documents, and those that lead on to a page. The page that
#: loads itself is shown by test_backup_pages.py.
NO_PAGES = re.compile(
    r"/progress$|/static/|/favicon|\.pdf$|\.crt$|/open$|/download$|/preview$|/language/|/locked$|^/$"
)
#: What depends on the colour scheme; the rest is the same in both.
OF_COLOUR = ["color-contrast", "link-in-text-block"]
#: What fits in this language fits in the other.
LONGER_WORDS = "de-DE"
#: Which page is looked at how: size, scheme, axe's rules (none named: all). Both languages together are every
#: size in every scheme.
LOOKS = {
    "de-DE": ((SMALL_PHONE, "dark", ()), (DESKTOP, "light", ())),
    "en-GB": ((SMALL_PHONE, "light", ()), (DESKTOP, "dark", OF_COLOUR)),
}


@pytest.mark.parametrize("language", LOOKS)
async def test_every_page_has_no_axe_finding_fits_small_phones_loses_nothing_enlarged_and_prints_clean(
    language: str,
) -> None:
    broken: list[str] = []
    names: list[str] = []

    async def look(page: Page, name: str) -> None:
        names.append(name)
        found = [
            one for viewport, scheme, rules in LOOKS[language] for one in await look_at(page, viewport, scheme, rules)
        ]
        if language == LONGER_WORDS:
            found += await look_enlarged(page) + await look_on_paper(page)
        broken.extend(f"{name}: {one}" for one in found)

    async def look_at_sheet(name: str, pdf: bytes) -> None:
        names.append(name)
        assert pdf.startswith(b"%PDF-")

    with running_box(empty=True) as box:
        async with opened_chromium(box) as chromium:
            seen = await tour(box, chromium, look, look_at_sheet, language)
    assert len(names) == len(set(names))
    expect_every_address(seen)
    assert seen.messages <= seen.headings, "the tour shows every message that a patient can meet"
    assert not broken, "\n".join(broken)


def expect_every_address(seen: Seen) -> None:
    """Fail if practice has a page that the tour does not come past."""
    source = "".join(path.read_text() for path in PRACTICE.glob("*_routes.py"))
    addresses = {RESET_PATH, FINISH_PATH} | {
        address for address in re.findall(r'web\.get\("([^"]+)"', source) if not NO_PAGES.search(address)
    }
    assert len(addresses) > 20
    paths = {f"/{path.partition('?')[0]}" for path in seen.paths}
    missing = [
        address
        for address in addresses
        if not any(re.fullmatch(re.sub(r"\{\w+\}", "[0-9a-f]{32}", address), path) for path in paths)
    ]
    assert not missing, f"the tour does not show {missing}"


#: Each fault, and the finding that names it.
FAULTS = {
    "axe: color-contrast": "document.querySelector('h1').style.color = '#999999'",
    "axe: label (": "document.querySelector('label').remove()",
    "axe: landmark-one-main": "document.querySelector('main').outerHTML = document.querySelector('main').innerHTML",
    "wider than": "document.querySelector('h1').style.minWidth = '400px'",
    "small target": "document.querySelector('main button').style.minHeight = '2rem'",
    "cut off": "Object.assign(document.querySelector('h1').style, { width: '2rem', overflow: 'hidden', whiteSpace: 'nowrap' })",
    "moves": "document.querySelector('h1').style.transition = 'opacity 1s'",
    "twice": "document.querySelector('h1').id = 'main'",
    "to press": """
      const again = document.querySelector('main').appendChild(document.createElement('button'));
      again.textContent = 'Drucken';
      again.style.setProperty('display', 'block', 'important');
    """,
}


async def test_the_judges_notice_what_they_are_there_for(reception: PracticePages) -> None:
    page = reception.page
    await reception.open("/patients")
    assert not await look_at(page, SMALL_PHONE, "light")
    for finding, fault in FAULTS.items():
        await page.reload()
        await page.evaluate(fault)
        found = await look_at(page, SMALL_PHONE, "light") + await look_on_paper(page)
        assert any(finding.removeprefix("axe: ") in one for one in found), (finding, found)


async def test_what_is_pressed_next_stands_out_and_nothing_else(
    reception: PracticePages, files: dict[str, Path]
) -> None:
    page = reception.page
    await reception.create_patient("Hauptknopf", "Ina", "12.08.1964")
    await reception.upload(files["lab"], "lab")
    share = await reception.make_share(list((await reception.documents()).values()))
    for name, sheet in (("link", "link-sheet"), ("pin", "pin-slip")):
        primary = page.locator("main :is(button, .button):not(.second)")
        await expect(primary).to_have_count(1)
        await expect(primary).to_have_attribute("href", re.compile(sheet))
        async with page.context.expect_page() as opening:
            await primary.click()
        await (await opening.value).close()
        await expect(primary).to_have_count(1)
        await expect(page.locator(f"form[action$='/{name}-printed'] button")).to_have_class("next")
        await page.emulate_media(media="print")
        await expect(page.locator(f"#{name}")).to_be_visible()
        await expect(page.locator("h1")).to_be_hidden()
        await page.emulate_media(media="screen")
        await reception.confirm_printed()
    await page.wait_for_url("**/patients/*?done=*")
    await reception.revoke(f"/patients/{page.url.partition('?')[0].rpartition('/')[2]}")
    assert share


async def test_a_failed_address_keeps_the_navigation_and_leads_back_to_its_part_of_the_box(
    reception: PracticePages,
) -> None:
    page = reception.page
    reception.watch.expected += ["/nowhere", "/patients/", "/shares/"]
    for path, back, current in (
        ("/nowhere", "/", None),
        (f"/patients/{'0' * 32}", "/patients", "/patients"),
        (f"/shares/{'0' * 32}/link", "/shares", "/shares"),
    ):
        await reception.open(path)
        await expect(page.locator("main a.button")).to_have_attribute("href", back)
        await expect(page.locator(".main-nav a")).to_have_count(4)
        marked = page.locator(".main-nav a[aria-current]")
        assert [await one.get_attribute("href") for one in await marked.all()] == ([current] if current else [])
    assert not await axe_findings(page)


async def test_the_search_comes_before_making_a_patient(reception: PracticePages) -> None:
    page = reception.page
    await reception.open("/patients")
    reached = []
    for _ in range(4):
        reached.append(
            await page.evaluate(
                "document.activeElement.name || document.activeElement.getAttribute('href') || document.activeElement.localName"
            )
        )
        await page.keyboard.press("Tab")
    assert reached == ["text", "birth_date", "button", "/patients/new"]
