"""In the running box: pydicom's files and photos from a phone, from staff's upload to the patient's screen."""

from __future__ import annotations

import asyncio
from io import BytesIO
from urllib.parse import urljoin

import pytest
from PIL import Image
from playwright.async_api import Locator, expect

from tests.browser.chromium import PHONE, opened_chromium, visitor
from tests.browser.patient_page import PatientPage
from tests.browser.practice_pages import PracticePages
from tests.preview.pictures import BLUE, GREEN, RED, WHITE, dicom, heic, is_upright, jpeg, tiff
from tests.simulators.demo_box import DemoBox
from tests.simulators.sample_documents import report_pdf
from tests.simulators.staff import Staff

pytestmark = [pytest.mark.box, pytest.mark.browser]

#: What stands at the corners of the picture on the screen, a little inside: top left, top right, bottom left, right.
CORNERS = """
(picture) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const [right, bottom] = [canvas.width - 8, canvas.height - 8];
  return [[8, 8], [right, 8], [8, bottom], [right, bottom]].map(([x, y]) => [...context.getImageData(x, y, 1, 1).data]);
}
"""


async def looks_upright(picture: Locator) -> bool:
    await expect(picture).to_be_visible()
    await picture.evaluate("(picture) => picture.decode()")
    corners = await picture.evaluate(CORNERS)
    return all(
        abs(seen - meant) < 40
        for corner, colour in zip(corners, (RED, BLUE, GREEN, WHITE), strict=True)
        for seen, meant in zip(corner[:3], colour, strict=True)
    )


async def fetch(staff: Staff, path: str) -> tuple[int, str, bytes]:
    url = urljoin(staff.url, path)
    async with staff.browser._session.get(url, ssl=staff.browser._trust) as answer:
        return answer.status, answer.content_type, await answer.read()


async def preview_of(staff: Staff, document: str) -> bytes:
    """Ask as staff would who press "open" again until the preview is there."""
    async with asyncio.timeout(90):
        while (answer := await fetch(staff, f"/documents/{document}/open"))[0] == 503:
            await asyncio.sleep(0.1)
    assert answer[:2] == (200, "image/jpeg"), answer[2][:2000]
    return answer[2]


async def by_title(staff: Staff, patient: str) -> dict[str, str]:
    page = await staff.open(patient)
    found = {}
    for document in page.form("documents").controls["documents"]:
        confirm = await staff.open(f"/documents/{document}/delete")
        found |= {title: document for title in TITLES if title in confirm.text}
    return found


FILES = {
    "photo-6.heic": heic(6),
    "photo-3.heic": heic(3),
    "photo-8.heic": heic(8),
    "photo-6.jpg": jpeg(6),
    "scan.tiff": tiff(8),
    "schaedel.dcm": dicom("CT_small.dcm"),
    "herz.dcm": dicom("MR_small_jpeg_ls_lossless.dcm"),
    "kaputt.dcm": dicom("MR_truncated.dcm"),
    "brief.pdf": report_pdf(1),
}
TITLES = tuple(FILES)
DICOM_FILES = ("schaedel.dcm", "herz.dcm")
TURNED = ("photo-6.heic", "photo-3.heic", "photo-8.heic", "scan.tiff")


async def test_pictures_no_browser_shows_reach_staff_and_patient_upright(box: DemoBox, staff: Staff) -> None:
    patient = await staff.create_patient("Bildervorschau")
    for name, content in FILES.items():
        await staff.upload(patient, content, name=name, kind="image")
    documents = await by_title(staff, patient)
    assert set(documents) == set(FILES)
    for name in TURNED:
        assert is_upright(Image.open(BytesIO(await preview_of(staff, documents[name])))), name
    for name, size in zip(DICOM_FILES, ((128, 128), (64, 64)), strict=True):
        assert Image.open(BytesIO(await preview_of(staff, documents[name]))).size == size

    # A file that cannot be shown says so, can be saved, and stood in nobody's way.
    async with asyncio.timeout(90):
        while (answer := await fetch(staff, f"/documents/{documents['kaputt.dcm']}/open"))[0] == 503:
            await asyncio.sleep(0.1)
    assert answer[0] == 404
    assert b'data-code="preview"' in answer[2]
    for name, content in FILES.items():
        assert await staff.download(documents[name]) == content, name

    link, pin = await staff.share(patient)
    async with opened_chromium(box) as chromium:
        async with visitor(chromium, box) as (context, watch):
            watch.expected.append("/favicon.ico")
            pages = PracticePages(await context.new_page(), box.practice_url, watch)
            await pages.log_in(box.said["staff"], box.said["password"])
            await pages.page.wait_for_url("**/patients")
            for name in (*TURNED, "photo-6.jpg"):
                await pages.open(f"/documents/{documents[name]}/open")
                screen = Image.open(BytesIO(await pages.page.locator("img").screenshot()))
                assert is_upright(screen), name
        async with visitor(chromium, box, viewport=PHONE, has_touch=True) as (context, watch):
            holder = PatientPage(await context.new_page(), watch)
            await holder.open_share(link, pin)
            for name in (*TURNED, "photo-6.jpg"):
                await holder.show(name)
                assert await looks_upright(holder.page.locator("img.picture")), name
                await holder.back()
            await holder.show("schaedel.dcm")
            await expect(holder.page.locator("img.picture")).to_have_js_property("naturalWidth", 128)
            async with holder.page.expect_download() as saving:
                await holder.page.locator("main .buttons button").last.click()
            download = await saving.value
            assert download.suggested_filename == "schaedel.dcm"
            with open(await download.path(), "rb") as file:
                assert file.read() == FILES["schaedel.dcm"]
            await expect(holder.page.locator(".documents")).to_be_visible()
            assert await holder.entry("kaputt.dcm").locator("button").count() == 1  # to be saved, not opened


async def test_the_text_of_an_uploaded_pdf_is_found(staff: Staff) -> None:
    patient = await staff.create_patient("Textauszug")
    await staff.upload(patient, report_pdf(1), name="auszug.pdf", media_type="application/pdf")
    async with asyncio.timeout(90):
        while "auszug" not in (await staff.open("/patients?text=Nachweis+Textauszug")).text:
            await asyncio.sleep(0.1)
