"""Every page that staff and patients can meet, one after the other: `show(page, name)` is called at each.

It begins on a box that nobody has claimed, and a visitor's browser asks for `language`. The screenshots bear the
names. test_accessibility.py looks at each page, and holds the tour to what the box can show: every address and
template of practice, every message of the patient's page.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.async_api import Browser, expect

from tests.browser.chromium import DESKTOP, visitor
from tests.browser.patient_page import PatientPage
from tests.browser.practice_pages import PracticePages
from tests.browser.tour_patient import PatientTour
from tests.browser.tour_staff import Show, ShowSheet, StaffTour
from tests.drill.boxes import DISK, put_disk
from tests.simulators.demo_box import DemoBox

#: What the tour provokes on purpose: refused forms, pages that are not there, links that open nothing.
EXPECTED = [
    "/claim",
    "/login",
    "/patients",
    "/shares",
    "/invitation",
    "/nowhere",
    "/password",
    "/staff",
    "/devices",
    "/unlocking",
    "/kit",
    "/backup",
    "/status/internet",
    "/status/page-key",
    "/reset",
]


@dataclass
class Seen:
    """What the tour came past: addresses of practice's pages, and headings of the patient's page."""

    paths: set[str] = field(default_factory=set)
    headings: set[str] = field(default_factory=set)
    #: Headings of every message that the patient's page has.
    messages: set[str] = field(default_factory=set)


async def tour(box: DemoBox, chromium: Browser, show: Show, show_sheet: ShowSheet, language: str = "de-DE") -> Seen:
    """Walk through every page; each failure a page is shown with is provoked on purpose."""
    seen = Seen()
    async with visitor(chromium, box, language=language, viewport=DESKTOP) as (context, watch):
        watch.expected += EXPECTED
        page = await context.new_page()
        page.on("framenavigated", lambda frame: seen.paths.add(frame.url.partition("//")[2].partition("/")[2]))
        pages = PracticePages(page, box.practice_url, watch)
        staff = StaffTour(pages, show, show_sheet)
        patient_tour = PatientTour(box, chromium, language, show, seen.headings)
        await staff.door(box.claim_code)
        patient = await staff.patients()
        link, pin = await staff.share(patient)
        await staff.kit()
        await staff.practice()
        put_disk(box)
        await staff.backup(DISK)
        guessed = await pages.share(patient)
        revoked, _ = await pages.share(patient)
        await patient_tour.documents(link, pin)
        await patient_tour.failures(link)
        await patient_tour.guess(*guessed)
        await staff.lists(patient)
        await pages.revoke(patient)
        await staff.ended()
        seen.messages = await patient_tour.revoked(revoked)
        if language == "de-DE":
            await _switched(box, chromium, pages, patient, link, show)
        await staff.locked()
        await staff.reset(box.state)
    return seen


async def _switched(
    box: DemoBox, chromium: Browser, pages: PracticePages, patient: str, link: str, show: Show
) -> None:
    """Three pages in the other language, for the pictures; the whole tour is made in it too, by the tests."""
    await pages.open(patient)
    await pages.page.locator("a.language").click()
    await expect(pages.page.locator("html")).to_have_attribute("lang", "en")
    await show(pages.page, "english-patient")
    await pages.open("/status")
    await show(pages.page, "english-status")
    async with visitor(chromium, box, language="en-GB", viewport=DESKTOP) as (context, watch):
        holder = PatientPage(await context.new_page(), watch, "en")
        await holder.open(link)
        await expect(holder.page.locator("#pin")).to_be_visible()
        await show(holder.page, "english-pin")
    await pages.page.locator("a.language").click()
    await expect(pages.page.locator("html")).to_have_attribute("lang", "de")
