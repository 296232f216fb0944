"""Documents too large for a browser's memory: from practice software through the box to a file on the patient's disk.

The largest document the box takes must not need more than 200 MB of the renderer that opens it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.chromium import opened_chromium, visitor
from tests.browser.patient_page import NOTHING, PatientPage
from tests.browser.practice_pages import PracticePages
from tests.browser.practice_software import put_document
from tests.browser.renderer_memory import measured
from tests.simulators.demo_box import DemoBox

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

MB = 1 << 20
LARGEST = 512 * MB
ABOVE_BLOB = 70 * MB
MAX_RENDERER_MB = 200
PIECE_BYTES = MB
SAVED_TIMEOUT_MS = 120_000
PNG = b"\x89PNG\r\n\x1a\n"

#: Most browsers have no dialogue to choose a file; where Chromium is made like them, the page takes its other way.
WITHOUT_DIALOGUE = "delete Window.prototype.showSaveFilePicker; delete window.showSaveFilePicker"
#: Nobody can answer the dialogue here: the file is one of the browser's own, with the same interface.
ANSWERED_DIALOGUE = """
window.showSaveFilePicker = async ({ suggestedName }) =>
  (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true });
"""
SAVED_FILE = """
async (name) => {
  const folder = await navigator.storage.getDirectory();
  const file = await (await folder.getFileHandle(name)).getFile();
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  await folder.removeEntry(name);
  return [file.size, ...new Uint8Array(digest)];
}
"""


@dataclass
class Scan:
    """A picture of this many bytes that no compression makes smaller; `digest` is whole once it was sent."""

    length: int
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    async def pieces(self) -> AsyncIterator[bytes]:
        chance, left, piece = random.Random(self.length), self.length, PNG
        while left:
            self.digest.update(piece)
            left -= len(piece)
            yield piece
            piece = chance.randbytes(min(left, PIECE_BYTES))


async def share_scan(reception: PracticePages, box: DemoBox, scan: Scan, number: str) -> tuple[str, str]:
    """Have practice software store the scan, and share it."""
    await reception.open("/devices")
    await reception.fill(label=f"Röntgengerät {number}")
    await reception.send("/devices/new")
    token = await reception.page.locator("#device-token").inner_text()
    patient = await reception.create_patient("Groß", number, "12.08.1964", number)
    status = await put_document(
        box,
        token,
        scan.pieces(),
        ("Groß", number, "1964-08-12", number),
        key=secrets.token_hex(8),
        name=f"aufnahme-{number}.png",
        title="Aufnahme",
        kind="image",
        media_type="image/png",
    )
    assert status == 201
    return await reception.share(patient)


async def save(page: Page) -> None:
    await page.locator(".documents li button").last.click()
    await expect(page.locator("progress")).to_be_visible()


async def test_the_largest_document_is_saved_whole_and_the_renderer_stays_small(
    reception: PracticePages, box: DemoBox, tmp_path: Path, record_property
) -> None:
    scan = Scan(LARGEST)
    link, pin = await share_scan(reception, box, scan, "G-512")
    async with opened_chromium(box) as chromium, visitor(chromium, box) as (context, watch):
        await context.add_init_script(WITHOUT_DIALOGUE)
        holder = PatientPage(await context.new_page(), watch)
        await holder.open_share(link, pin)
        async with measured(chromium) as memory:
            async with holder.page.expect_download() as saving:
                await save(holder.page)
            download = await saving.value
            file = await download.path()
            await expect(holder.page.locator("main p.good")).to_be_visible(timeout=SAVED_TIMEOUT_MS)
        assert download.suggested_filename == "aufnahme-G-512.png"
        assert await asyncio.to_thread(digest_of, Path(file)) == scan.digest.hexdigest()
        await download.delete()
        assert await holder.left_behind() == NOTHING
    record_property("renderer_peak_mb", round(memory.peak_mb))
    print(
        f"\n512 MiB saved: the renderer took {memory.peak_mb:.0f} MB at most"
        f" ({memory.all_peaks_mb:.0f} MB with every other renderer; {memory.samples} samples)"
    )
    assert memory.peak_mb <= MAX_RENDERER_MB


async def test_a_document_above_the_blob_limit_is_written_to_the_file_that_was_chosen(
    reception: PracticePages, holder: PatientPage, box: DemoBox
) -> None:
    scan = Scan(ABOVE_BLOB)
    link, pin = await share_scan(reception, box, scan, "G-70")
    await holder.page.add_init_script(ANSWERED_DIALOGUE)
    await holder.open_share(link, pin)
    await save(holder.page)
    await expect(holder.page.locator("main p.good")).to_be_visible(timeout=SAVED_TIMEOUT_MS)
    size, *digest = await holder.page.evaluate(SAVED_FILE, "aufnahme-G-70.png")
    assert size == ABOVE_BLOB
    assert bytes(digest) == scan.digest.digest()
    assert await holder.left_behind() == NOTHING


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
