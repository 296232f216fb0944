"""Walk 2 by browser: staff make a link and a PIN, a patient opens documents with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.chromium import PHONE, visitor
from tests.browser.paper import picture_of, read_qr_code, words_of
from tests.browser.patient_page import NOTHING, PatientPage, shown_pixels
from tests.browser.practice_pages import PracticePages
from tests.simulators.demo_box import DemoBox
from tests.simulators.sample_documents import TEXT
from tests.simulators.staff import other_pin

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def patient_with(reception: PracticePages, files: dict[str, Path], name: str) -> str:
    """Make a patient with one document of each type; titles are the kinds."""
    patient = await reception.create_patient(name, "Erika", "12.08.1964")
    for kind, file in files.items():
        await reception.upload(file, kind, title=kind)
    return patient


async def one_text(reception: PracticePages, files: dict[str, Path], name: str) -> str:
    """Make a patient with one document."""
    patient = await reception.create_patient(name, "Erika", "12.08.1964")
    await reception.upload(files["lab"], "lab", title="lab")
    return patient


async def expect_no_trace(pages: PracticePages, words: str) -> None:
    """The page that is open says nothing of it, wherever it would stand."""
    assert words not in "".join((await pages.page.content()).split())
    assert words not in "".join((await pages.page.locator("body").inner_text()).split())


async def test_link_and_pin_are_each_shown_until_printed_and_never_together(
    reception: PracticePages, files: dict[str, Path]
) -> None:
    page = reception.page
    patient = await one_text(reception, files, "Papier")
    share = await reception.make_share(list((await reception.documents()).values()))
    reception.watch.expected += [f"{share}/"]

    link = await page.locator("#link").inner_text()
    await page.reload()
    await expect(page.locator("#link")).to_have_text(link)
    await reception.open(f"{share}/pin")
    assert reception.path == f"{share}/link", "no PIN while the link waits"
    link_sheets = [await reception.fetch(f"{share}/link-sheet.pdf?language={language}") for language in ("de", "en")]
    await reception.expect_tab(f"{share}/link-sheet.pdf?language=de", "application/pdf")
    pages_with_link = await page.content()

    await reception.confirm_printed()
    await page.wait_for_url(f"**{share}/pin")
    pin = (await page.locator("#pin").inner_text()).replace(" ", "")
    assert pin.isdigit()
    assert pin not in "".join(pages_with_link.split())
    await expect_no_trace(reception, link)
    await page.go_back()
    await expect_no_trace(reception, link)
    for path in ("link", "link-sheet.pdf"):
        await reception.open(f"{share}/{path}")
        assert await reception.error() == "link"
        await expect_no_trace(reception, link)

    await reception.open(f"{share}/pin")
    pin_slips = [await reception.fetch(f"{share}/pin-slip.pdf?language={language}") for language in ("de", "en")]
    await reception.expect_tab(f"{share}/pin-slip.pdf?language=de", "application/pdf")
    await reception.confirm_printed()
    await page.wait_for_url(f"**{patient}?done=*")
    await expect_no_trace(reception, pin)
    await page.go_back()
    await expect_no_trace(reception, pin)
    for path in ("pin", "pin-slip.pdf"):
        await reception.open(f"{share}/{path}")
        assert await reception.error()
        await expect_no_trace(reception, pin)

    for sheet in link_sheets:
        assert link in words_of(sheet)
        assert pin not in words_of(sheet)
        assert read_qr_code(picture_of(sheet)) == link
    for slip in pin_slips:
        assert pin in words_of(slip)
        assert link.partition("#")[2] not in words_of(slip)
        assert link.partition("#")[2].encode() not in slip


async def test_the_holder_reads_and_saves_every_document_byte_for_byte_and_nothing_stays(
    reception: PracticePages, holder: PatientPage, files: dict[str, Path]
) -> None:
    link, pin = await reception.share(await patient_with(reception, files, "Leserin"))
    page, secret = holder.page, link.partition("#")[2]
    await holder.open(link)
    await expect(page.locator("#pin")).to_be_focused()
    assert page.url == link.partition("#")[0], "the secret has left the address bar"
    await holder.offer(other_pin(pin))
    await expect(page.locator("#problem .wrong")).to_contain_text("4")
    await holder.offer(f"{pin[:3]} {pin[3:]}")
    await expect(page.locator(".documents")).to_be_visible()
    assert sorted(await holder.titles()) == sorted(files)

    for kind, file in files.items():
        assert await holder.save(kind) == (file.name, file.read_bytes())
    await holder.show("lab")
    await expect(page.locator("pre.text")).to_have_text(TEXT.decode())
    await holder.back()
    for kind, width in (("image", 1600), ("letter", 800)):
        await holder.show(kind)
        await expect(page.locator("img.picture")).to_be_visible()
        await expect(page.locator("img.picture")).to_have_js_property("naturalWidth", width)
        await holder.back()
    await expect_pdf_in_its_own_origin(holder)
    await holder.back()

    assert page.url == link.partition("#")[0]
    assert await holder.left_behind() == NOTHING
    assert await page.context.cookies() == []
    assert secret not in await page.content()
    assert not [one for one in holder.watch.sent if secret in one], "S never travels"
    assert len([one for one in holder.watch.sent if pin in one]) == 1, "the PIN travels once"
    await page.goto("about:blank")
    await page.go_back()
    await holder.expect_message("missing")


async def expect_pdf_in_its_own_origin(holder: PatientPage) -> None:
    await holder.show("finding")
    frame = holder.page.locator("iframe.pdf[data-shown='3']")
    await expect(frame).to_be_visible()
    await expect(frame).to_have_attribute("sandbox", "allow-scripts")
    canvas = holder.page.frame_locator("iframe.pdf").locator("canvas").first
    await expect(canvas).to_be_visible()
    shades, width, height = await shown_pixels(canvas)
    assert shades > 10, "text is painted"
    assert width > 300
    assert height > width
    [viewer] = [one for one in holder.page.frames if one.url.endswith("/viewer.html")]
    assert await viewer.evaluate("self.origin") == "null"
    await expect(holder.page.frame_locator("iframe.pdf").locator(".page p").first).to_contain_text("Befundbericht")


async def test_five_wrong_pins_close_the_link_for_good(
    reception: PracticePages, holder: PatientPage, files: dict[str, Path]
) -> None:
    patient = await one_text(reception, files, "Ratende")
    link, pin = await reception.share(patient)
    await holder.open(link)
    for left in ("4", "3", "2", "1"):
        await holder.offer(other_pin(pin))
        await expect(holder.page.locator("#problem .wrong")).to_contain_text(left)
    await holder.offer(other_pin(pin))
    await holder.expect_message("closed")
    await expect(holder.page.locator("a.telephone")).to_have_attribute("href", "tel:03055501234")
    await holder.page.goto("about:blank")
    await holder.open(link)
    await holder.expect_message("closed")
    await reception.open(patient)
    await expect(reception.page.locator("a[href^='/shares/'][href$='/revoke']")).to_have_count(0)


async def test_after_reloading_the_link_and_the_pin_are_asked_again(
    reception: PracticePages, holder: PatientPage, files: dict[str, Path]
) -> None:
    link, pin = await reception.share(await one_text(reception, files, "Neulader"))
    await holder.open_share(link, pin)
    await holder.page.reload()
    await holder.expect_message("missing")
    await holder.page.goto("about:blank")
    await holder.open_share(link, pin)


async def test_a_revoked_link_tells_its_holder_whom_to_call_and_a_stranger_nothing(
    reception: PracticePages, holder: PatientPage, files: dict[str, Path]
) -> None:
    patient = await one_text(reception, files, "Widerrufene")
    link, pin = await reception.share(patient)
    await holder.open_share(link, pin)
    await reception.revoke(patient)
    holder.watch.expected += ["/share/document", "/api/state", "status of 404"]
    await holder.entry("lab").locator("button").first.click()
    await holder.expect_message("revoked")
    await holder.page.goto("about:blank")
    await holder.open(link)
    await holder.expect_message("revoked")
    await expect(holder.page.locator("a.telephone")).to_have_text("030 5550 1234")
    await holder.page.goto("about:blank")
    await holder.open(link[:-4] + ("AAAA" if link[-4:] != "AAAA" else "AAAE"))
    await holder.expect_message("unknown")
    await expect(holder.page.locator("a.telephone")).to_have_count(0)


async def test_staff_see_that_a_link_was_opened_and_how_many_tries_are_left(
    reception: PracticePages, holder: PatientPage, files: dict[str, Path]
) -> None:
    patient = await one_text(reception, files, "Beobachtete")
    link, pin = await reception.share(patient)
    await reception.open("/shares")
    card = reception.page.locator(f".cards > li:has(a[href='{patient}'])").first
    unopened = await card.inner_text()
    await holder.open(link)
    await holder.offer(other_pin(pin))
    await expect(holder.page.locator("#problem .wrong")).to_be_visible()
    await holder.offer(pin)
    await expect(holder.page.locator(".documents")).to_be_visible()
    await reception.page.reload()
    assert await card.inner_text() != unopened
    await expect(card.locator(".attention")).to_contain_text("4")
    await reception.open(f"/history?patient={patient.rpartition('/')[2]}")
    await expect(reception.page.locator("tbody tr")).to_have_count(5)  # patient, document, share, wrong PIN, opened


async def test_a_patient_may_read_in_english(box: DemoBox, chromium: Browser) -> None:
    async with visitor(chromium, box, language="en-GB", viewport=PHONE) as (context, watch):
        holder = PatientPage(await context.new_page(), watch)
        await holder.open(box.patient_link)
        await expect(holder.page.locator("html")).to_have_attribute("lang", "en")
        english = await holder.page.locator("main").inner_text()
        await holder.page.locator("#language").click()
        await expect(holder.page.locator("html")).to_have_attribute("lang", "de")
        assert await holder.page.locator("main").inner_text() != english
