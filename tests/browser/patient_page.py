"""The patient's page in a browser: open the link, type the PIN, read and save."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from playwright.async_api import Locator, Page, expect

from tests.browser.chromium import Watch

#: What a page can leave behind in a browser, and how many of each are there.
LEFT_BEHIND = """
async () => ({
  localStorage: localStorage.length,
  sessionStorage: sessionStorage.length,
  cookies: document.cookie.length,
  databases: (await indexedDB.databases()).length,
  caches: (await caches.keys()).length,
  workers: (await navigator.serviceWorker.getRegistrations()).length,
  state: history.state === null ? 0 : 1,
})
"""
NOTHING = dict.fromkeys(("localStorage", "sessionStorage", "cookies", "databases", "caches", "workers", "state"), 0)


class PatientPage:
    """One tab of a patient; `watch` is what its browser noticed."""

    def __init__(self, page: Page, watch: Watch, language: str = "de") -> None:
        self.page = page
        self.watch = watch
        self.language = language

    async def open(self, link: str) -> None:
        await self.page.goto(link)

    async def offer(self, pin: str) -> None:
        """Type a PIN and send it."""
        await self.page.locator("#pin").fill(pin)
        await self.page.locator("main form button").click()

    async def open_share(self, link: str, pin: str) -> None:
        """Open the link with its PIN, up to the list of documents."""
        await self.open(link)
        await self.offer(pin)
        await expect(self.page.locator(".documents")).to_be_visible()

    async def titles(self) -> list[str]:
        return await self.page.locator(".documents h2").all_inner_texts()

    def entry(self, title: str) -> Locator:
        """The entry of a document; its first button opens it, its last one saves it."""
        return self.page.locator(".documents li").filter(has=self.page.get_by_role("heading", name=title, exact=True))

    async def show(self, title: str) -> None:
        """Open a document in the page; `back` leads to the list again."""
        await self.entry(title).locator("button").first.click()

    async def back(self) -> None:
        await self.page.locator("main .buttons button").first.click()
        await expect(self.page.locator(".documents")).to_be_visible()

    async def save(self, title: str) -> tuple[str, bytes]:
        """Save a document: the file's name and its bytes."""
        async with self.page.expect_download() as saving:
            await self.entry(title).locator("button").last.click()
        download = await saving.value
        content = Path(await download.path()).read_bytes()
        await expect(self.page.locator("main p.good")).to_be_visible()
        return download.suggested_filename, content

    async def left_behind(self) -> dict[str, int]:
        return await self.page.evaluate(LEFT_BEHIND)

    async def message(self, name: str) -> str:
        """Give the heading of one of the page's messages ("revoked", "closed", …), from its own catalogue."""
        return await self.page.evaluate(
            "([language, name]) => import('/assets/texts.js').then(({ TEXTS }) => TEXTS[language].messages[name][0])",
            [self.language, name],
        )

    async def expect_message(self, name: str) -> None:
        await expect(self.page.locator("main h1")).to_have_text(await self.message(name))


async def shown_pixels(canvas: Locator) -> Sequence[int]:
    """Give how many different shades a canvas shows: a blank page has one."""
    return await canvas.evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const shades = new Set();
          for (let at = 0; at < data.length; at += 4) shades.add(data[at]);
          return [shades.size, canvas.width, canvas.height];
        }"""
    )
