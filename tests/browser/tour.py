"""Every page that staff and patients can meet, one after the other: `show(page, name)` is called at each.

It begins on a box that nobody has claimed. Names sort in the order of the tour; the screenshots bear them, and
test_every_page.py looks at each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.browser.chromium import DESKTOP, visitor
from tests.browser.patient_page import PatientPage
from tests.browser.practice_pages import PracticePages
from tests.simulators.demo_box import DemoBox
from tests.simulators.staff import other_pin

SAMPLES = Path(__file__).parents[2] / "appliance/demo/samples"
PASSWORD = "ein kurzer Satz merkt sich"
PRACTICE = {"practice_name": "Praxis am Lindenplatz", "telephone": "030 5550 1234"}
DOCUMENTS = (
    ("befund-echokardiographie.pdf", "finding", "Befund Echokardiographie"),
    ("labor.txt", "lab", "Laborbericht"),
    ("ekg-ruhe.png", "image", "EKG in Ruhe"),
    ("roentgen-thorax.jpg", "image", "Röntgen Thorax"),
)
PATIENTS = (
    ("Mustermann", "Max", "03.02.1961", "4712"),
    ("Öztürk", "Aylin", "27.11.1988", "4713"),
    ("von und zu Wolkenstein-Rodenegg", "Maximiliane Henriette", "29.02.1948", "4714"),
)

Show = Callable[[Page, str], Awaitable[None]]
#: A printed sheet: its name and its PDF.
ShowSheet = Callable[[str, bytes], Awaitable[None]]


async def tour(box: DemoBox, chromium: Browser, show: Show, show_sheet: ShowSheet) -> None:
    """Walk through every page; each failure a page is shown with is provoked on purpose."""
    async with visitor(chromium, box, viewport=DESKTOP) as (context, watch):
        watch.expected += ["/claim", "/login", "/patients", "/shares", "/invitation", "/nowhere", "/favicon.ico"]
        pages = PracticePages(await context.new_page(), box.practice_url, watch)
        await _door(pages, box, show)
        patient = await _patients(pages, show)
        link, pin = await _share(pages, patient, show, show_sheet)
        await _practice(pages, show)
        guessed = await pages.share(patient)
        revoked, _ = await pages.share(patient)
        await _patient(chromium, box, link, pin, show)
        await _ended(chromium, box, guessed, show)
        await _lists(pages, patient, show)
        await pages.revoke(patient)
        await _revoked(chromium, box, revoked, show)
        await _english(chromium, box, pages, patient, link, show)


async def _door(pages: PracticePages, box: DemoBox, show: Show) -> None:
    await pages.open("/")
    await show(pages.page, "staff-01-claim")
    await pages.claim("AAAAA-AAAAA-AAAAA-AAAAA", "Sabine Keller", PASSWORD, **PRACTICE)
    await show(pages.page, "staff-02-claim-refused")
    await pages.claim(box.claim_code, "Sabine Keller", PASSWORD, **PRACTICE)
    await pages.page.wait_for_url("**/patients?done=claimed")
    await show(pages.page, "staff-03-claimed")
    await pages.log_out()
    await show(pages.page, "staff-04-login")
    await pages.log_in("Sabine Keller", "falsch falsch")
    await show(pages.page, "staff-05-login-refused")
    await pages.open("/invitation")
    await show(pages.page, "staff-06-invitation")
    await pages.log_in("Sabine Keller", PASSWORD)
    await pages.page.wait_for_url("**/patients")


async def _patients(pages: PracticePages, show: Show) -> str:
    for person in PATIENTS:
        await pages.create_patient(*person)
    await pages.open("/patients/new")
    await pages.fill(family_name="Mustermann", given_name="Erika", birth_date="31.02.1964", number="4711")
    await pages.send("/patients/new")
    await show(pages.page, "staff-07-new-patient-refused")
    patient = await pages.create_patient("Mustermann", "Erika", "12.08.1964", "4711")
    await show(pages.page, "staff-08-patient-without-documents")
    await pages.open("/patients/new")
    await pages.fill(family_name="Mustermann", given_name="Erika", birth_date="12.08.1964")
    await pages.send("/patients/new")
    await show(pages.page, "staff-09-patient-exists")
    await pages.open("/patients")
    await show(pages.page, "staff-10-patients")
    await pages.open("/patients?text=Mustermannn&birth_date=")
    await show(pages.page, "staff-11-nobody-found")
    await pages.open(patient)
    for name, kind, title in DOCUMENTS:
        await pages.upload(SAMPLES / name, kind, title)
    await show(pages.page, "staff-12-patient")
    wrong = {"name": "brief.docx", "mimeType": "application/vnd.ms-word", "buffer": b"PK\3\4" + bytes(99)}
    await pages.page.locator("#field-file").set_input_files([wrong])
    await pages.page.locator("form.upload button").click()
    await expect(pages.page.locator("#error li[data-code]")).to_have_count(1)
    await show(pages.page, "staff-13-upload-refused")
    await pages.open(patient)
    await pages.page.locator("main form[action$='/shares'] button").click()
    await show(pages.page, "staff-14-nothing-ticked")
    return patient


async def _share(pages: PracticePages, patient: str, show: Show, show_sheet: ShowSheet) -> tuple[str, str]:
    await pages.open(patient)
    share = await pages.make_share(list((await pages.documents()).values()))
    await show(pages.page, "staff-15-link")
    link = await pages.page.locator("#link").inner_text()
    await show_sheet("paper-1-link-sheet", await pages.fetch(f"{share}/link-sheet.pdf?language=de"))
    await pages.confirm_printed()
    await pages.page.wait_for_url(f"**{share}/pin")
    await show(pages.page, "staff-16-pin")
    pin = (await pages.page.locator("#pin").inner_text()).replace(" ", "")
    await show_sheet("paper-2-pin-slip", await pages.fetch(f"{share}/pin-slip.pdf?language=de"))
    await pages.confirm_printed()
    await pages.page.wait_for_url(f"**{patient}?done=*")
    await show(pages.page, "staff-17-shared")
    await pages.open(f"{share}/link")
    await show(pages.page, "staff-18-link-is-gone")
    return link, pin


async def _practice(pages: PracticePages, show: Show) -> None:
    await pages.open("/staff")
    await pages.fill(name="Murat Demir")
    await pages.send("/staff/invite")
    await show(pages.page, "staff-19-invited")
    await pages.open("/staff")
    await show(pages.page, "staff-20-team")
    await pages.page.locator("a[href$='/remove']").last.click()
    await show(pages.page, "staff-21-remove-member")
    await pages.open("/devices")
    await pages.fill(label="Praxissoftware am Empfang")
    await pages.send("/devices/new")
    await show(pages.page, "staff-22-practice-software-token")
    await pages.open("/devices")
    await show(pages.page, "staff-23-practice-software")
    await pages.open("/password")
    await show(pages.page, "staff-24-password")
    await pages.open("/status")
    await show(pages.page, "staff-25-status")


async def _patient(chromium: Browser, box: DemoBox, link: str, pin: str, show: Show) -> None:
    async with visitor(chromium, box, viewport=DESKTOP) as (context, watch):
        holder = PatientPage(await context.new_page(), watch)
        page = holder.page
        await holder.open(link)
        await expect(page.locator("#pin")).to_be_visible()
        await show(page, "patient-01-pin")
        await holder.offer(other_pin(pin))
        await expect(page.locator("#problem .wrong")).to_be_visible()
        await show(page, "patient-02-wrong-pin")
        await holder.offer(pin)
        await expect(page.locator(".documents")).to_be_visible()
        await show(page, "patient-03-documents")
        await _held_up(holder, show)
        await holder.show("Befund Echokardiographie")
        await expect(page.locator("iframe.pdf[data-shown]")).to_be_visible()
        await expect(page.frame_locator("iframe.pdf").locator("canvas").first).to_be_visible()
        await show(page, "patient-05-pdf")
        await holder.back()
        await holder.show("Laborbericht")
        await show(page, "patient-06-text")
        await holder.back()
        await holder.show("Röntgen Thorax")
        await expect(page.locator("img.picture")).to_be_visible()
        await show(page, "patient-07-picture")
        await holder.back()
        await holder.save("Laborbericht")
        await show(page, "patient-08-saved")
        await _wrong_links(holder, link, show)


async def _held_up(holder: PatientPage, show: Show) -> None:
    """A document that takes its time: the request waits until the picture is taken."""
    go_on = asyncio.Event()

    async def wait(route) -> None:
        await go_on.wait()
        await route.continue_()

    await holder.page.route("**/share/document", wait)
    await holder.show("EKG in Ruhe")
    await expect(holder.page.locator("progress")).to_be_visible()
    await show(holder.page, "patient-04-opening")
    go_on.set()
    await expect(holder.page.locator("img.picture")).to_be_visible()
    await holder.page.unroute("**/share/document")
    await holder.back()


async def _wrong_links(holder: PatientPage, link: str, show: Show) -> None:
    page = holder.page
    await page.reload()
    await holder.expect_message("missing")
    await show(page, "patient-09-link-not-complete")
    holder.watch.expected += ["/api/state", "status of 404", "%23"]
    await page.goto(link[:-4] + ("AAAA" if link[-4:] != "AAAA" else "AAAE"))
    await holder.expect_message("unknown")
    await show(page, "patient-10-link-unknown")
    await page.goto(link.replace("#", "%23"))
    await holder.expect_message("leaked")
    await show(page, "patient-11-link-changed")
    await page.route("**/api/state", lambda route: route.abort())
    await page.goto(link)
    await holder.expect_message("unreachable")
    await show(page, "patient-12-not-reachable")


async def _ended(chromium: Browser, box: DemoBox, share: tuple[str, str], show: Show) -> None:
    link, pin = share
    async with visitor(chromium, box, viewport=DESKTOP) as (context, watch):
        holder = PatientPage(await context.new_page(), watch)
        await holder.open(link)
        for left in ("4", "3", "2", "1"):
            await holder.offer(other_pin(pin))
            await expect(holder.page.locator("#problem .wrong")).to_contain_text(left)
        await holder.offer(other_pin(pin))
        await holder.expect_message("closed")
        await show(holder.page, "patient-13-closed")


async def _revoked(chromium: Browser, box: DemoBox, link: str, show: Show) -> None:
    async with visitor(chromium, box, viewport=DESKTOP) as (context, watch):
        holder = PatientPage(await context.new_page(), watch)
        await holder.open(link)
        await holder.expect_message("revoked")
        await show(holder.page, "patient-14-revoked")


async def _lists(pages: PracticePages, patient: str, show: Show) -> None:
    await pages.open("/shares")
    await show(pages.page, "staff-26-shares")
    await pages.page.locator("main a[href$='/revoke']").first.click()
    await show(pages.page, "staff-27-revoke")
    await pages.open("/history")
    await show(pages.page, "staff-28-history")
    await pages.open(patient)
    await pages.page.locator("a[href^='/documents/'][href$='/delete']").first.click()
    await show(pages.page, "staff-29-erase-document")
    await pages.open(f"{patient}/delete")
    await show(pages.page, "staff-30-erase-patient")
    await pages.open("/nowhere")
    await show(pages.page, "staff-31-no-such-page")


async def _english(
    chromium: Browser, box: DemoBox, pages: PracticePages, patient: str, link: str, show: Show
) -> None:
    await pages.open(patient)
    await pages.page.locator("a.language").click()
    await expect(pages.page.locator("html")).to_have_attribute("lang", "en")
    await show(pages.page, "english-1-patient")
    await pages.open("/status")
    await show(pages.page, "english-2-status")
    async with visitor(chromium, box, language="en-GB", viewport=DESKTOP) as (context, _):
        page = await context.new_page()
        await page.goto(link)
        await expect(page.locator("#pin")).to_be_visible()
        await show(page, "english-3-pin")
