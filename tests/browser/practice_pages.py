"""The practice's pages in a browser: what a member of staff does, one function a step.

Controls are found by name, id and address, never by their words, so that the words can improve.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from PIL import Image
from playwright.async_api import Page, expect

from tests.browser.chromium import Watch

SHOWN_TIMEOUT_S = 20
#: Letters are painted with soft edges; an empty page or frame has a few shades.
PAINTED_SHADES = 40

#: Asks as the page itself would, with its cookies and under its policy.
FETCH = """
async (path) => {
  const bytes = new Uint8Array(await (await fetch(path)).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return btoa(text);
}
"""


class PracticePages:
    """One tab of a member of staff; `url` is the practice page's address, `watch` what its browser noticed."""

    def __init__(self, page: Page, url: str, watch: Watch) -> None:
        self.page = page
        self.url = url
        self.watch = watch

    @property
    def path(self) -> str:
        """Where the tab is."""
        return urlsplit(self.page.url).path

    async def open(self, path: str) -> None:
        await self.page.goto(urljoin(self.url, path))

    async def fill(self, **fields: str) -> None:
        """Type into the fields of these names."""
        for name, text in fields.items():
            await self.page.locator(f"#field-{name}").fill(text)

    async def send(self, action_end: str) -> None:
        """Press the button of the form that is sent to an address ending so."""
        await self.page.locator(f"main form[action$='{action_end}'] button").click()

    async def claim(self, code: str, name: str, password: str, **practice: str) -> None:
        await self.open("/claim")
        await self.fill(code=code, **practice, name=name, password=password, password_again=password)
        await self.send("/claim")

    async def log_in(self, name: str, password: str) -> None:
        await self.open("/login")
        await self.fill(name=name, password=password)
        await self.send("/login")

    async def log_out(self) -> None:
        await self.page.locator("form[action='/logout'] button").click()
        await self.page.wait_for_url("**/login**")

    async def error(self) -> str:
        """Give the code of the error shown; the page says it in words and names the field."""
        return await self.page.locator("#error").get_attribute("data-code") or ""

    async def create_patient(self, family_name: str, given_name: str, birth_date: str, number: str = "") -> str:
        """Create a patient, and give the page's path."""
        await self.open("/patients/new")
        await self.fill(family_name=family_name, given_name=given_name, birth_date=birth_date, number=number)
        await self.send("/patients/new")
        await self.page.wait_for_url("**/patients/*?done=*")
        return self.path

    async def upload(self, files: Path | Sequence[Path], kind: str, title: str = "") -> None:
        """Upload by the form of the patient's page that is open."""
        page = self.page
        before = await page.locator("input[name='documents']").count()
        await page.locator("#field-kind").select_option(kind)
        await page.locator("#field-title").fill(title)
        await page.locator("#field-file").set_input_files(files)
        await page.locator("form.upload button").click()
        count = 1 if isinstance(files, Path) else len(files)
        await expect(page.locator("input[name='documents']")).to_have_count(before + count)

    async def documents(self) -> dict[str, str]:
        """Give the documents the open patient's page shows: title -> identifier."""
        boxes = self.page.locator("input[name='documents']")
        titles = self.page.locator(".documents .row-name")
        values = [await box.get_attribute("value") or "" for box in await boxes.all()]
        return dict(zip(await titles.all_inner_texts(), values, strict=True))

    async def fetch(self, path: str) -> bytes:
        """Give what an address of the practice answers to this member of staff."""
        return base64.b64decode(await self.page.evaluate(FETCH, path))

    async def download(self, document: str) -> tuple[str, bytes]:
        """Press "save" of a document: the file's name and its bytes."""
        async with self.page.expect_download() as saving:
            await self.page.locator(f"a[href='/documents/{document}/download']").click()
        download = await saving.value
        return download.suggested_filename, Path(await download.path()).read_bytes()

    async def expect_tab(self, address: str, media_type: str) -> None:
        """Press a link that opens a tab of its own, and wait until that shows something of this type."""
        async with self.page.context.expect_page() as opening:
            await self.page.locator(f"a[href='{address}']").click()
        tab = await opening.value
        await tab.wait_for_load_state()
        assert await tab.evaluate("document.contentType") == media_type
        async with asyncio.timeout(SHOWN_TIMEOUT_S):
            while shades(await tab.screenshot()) < PAINTED_SHADES:
                await asyncio.sleep(0.2)  # the browser's own PDF viewer says nothing when it is done
        await tab.close()

    async def make_share(self, documents: Sequence[str], valid_days: str | None = None) -> str:
        """Tick documents of the open patient's page, make the share, and give its path."""
        for document in documents:
            await self.page.locator(f"input[name='documents'][value='{document}']").check()
        if valid_days:
            await self.page.locator("#field-valid_days").select_option(valid_days)
        await self.send("/shares")
        await self.page.wait_for_url("**/shares/*/link")
        return self.path.removesuffix("/link")

    async def confirm_printed(self) -> None:
        await self.page.locator("main form:has(input[name='printed']) button").click()

    async def share(self, patient: str, documents: Sequence[str] | None = None) -> tuple[str, str]:
        """Share documents of a patient (all if none are named), both papers "printed": link and PIN."""
        await self.open(patient)
        share = await self.make_share(documents or list((await self.documents()).values()))
        link = await self.page.locator("#link").inner_text()
        await self.confirm_printed()
        await self.page.wait_for_url(f"**{share}/pin")
        pin = (await self.page.locator("#pin").inner_text()).replace(" ", "")
        await self.confirm_printed()
        await self.page.wait_for_url(f"**{patient}?done=*")
        return link, pin

    async def revoke(self, patient: str) -> None:
        """End the first live share of a patient, on its page, as staff do on the telephone."""
        await self.open(patient)
        await self.page.locator("a[href^='/shares/'][href$='/revoke']").first.click()
        await self.send("/revoke")
        await self.page.wait_for_url("**/shares?done=*")


def shades(screenshot: bytes) -> int:
    """Give how many shades of grey a picture has."""
    return len(Image.open(io.BytesIO(screenshot)).convert("L").getcolors() or [])
