"""The part of the tour that patients see: each screen of the page, and each thing that can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from playwright.async_api import Browser, Error, Page, Route, expect

from tests.browser.chromium import DESKTOP, visitor
from tests.browser.patient_page import PatientPage
from tests.browser.tour_staff import BROKEN_PDF, PRACTICE, Show
from tests.simulators.demo_box import DemoBox
from tests.simulators.staff import other_pin

#: As gateway answers it, two weeks later; a tour does not wait so long.
EXPIRED = {
    "state": "expired",
    "tries_left": 5,
    "telephone": PRACTICE["telephone"],
    "practice": PRACTICE["practice_name"],
}
MESSAGES = """
(language) => import("/assets/texts.js").then(({ TEXTS }) => Object.values(TEXTS[language].messages).map(([head]) => head))
"""
#: A browser from before 2018.
OLD_BROWSER = "delete globalThis.ReadableStream"


class PatientTour:
    """Patients' browsers, one for each share; `headings` collects what the page was headed with."""

    def __init__(self, box: DemoBox, chromium: Browser, language: str, show: Show, headings: set[str]) -> None:
        self._box = box
        self._chromium = chromium
        self._language = language
        self._given_show = show
        self._headings = headings

    async def _show(self, page: Page, name: str) -> None:
        self._headings.add(await page.locator("main h1").inner_text())
        await self._given_show(page, name)

    @asynccontextmanager
    async def _holder(self) -> AsyncIterator[PatientPage]:
        async with visitor(self._chromium, self._box, language=self._language, viewport=DESKTOP) as (context, watch):
            yield PatientPage(await context.new_page(), watch, self._language[:2])

    async def documents(self, link: str, pin: str) -> None:
        """From the link to the document, read and saved."""
        async with self._holder() as holder:
            page = holder.page
            async with held(page, "**/api/state"):
                await page.goto(link)
                await expect(page.locator("h1")).to_be_visible()
                await self._show(page, "patient-wait")
            await expect(page.locator("#pin")).to_be_visible()
            await self._show(page, "patient-pin")
            await holder.offer("12")
            await self._show(page, "patient-pin-too-short")
            await holder.offer(other_pin(pin))
            await expect(page.locator("#problem .wrong")).to_contain_text("4")
            await self._show(page, "patient-wrong-pin")
            await holder.offer(pin)
            await expect(page.locator(".documents")).to_be_visible()
            await self._show(page, "patient-documents")
            await self._held_up(holder)
            await holder.show("Befund Echokardiographie")
            await expect(page.locator("iframe.pdf[data-shown]")).to_be_visible()
            await expect(page.frame_locator("iframe.pdf").locator("canvas").first).to_be_visible()
            await self._show(page, "patient-pdf")
            await holder.back()
            await holder.show("Laborbericht")
            await expect(page.locator("pre.text")).to_be_visible()
            await self._show(page, "patient-text")
            await holder.back()
            await holder.show("Röntgen Thorax")
            await expect(page.locator("img.picture")).to_be_visible()
            await self._show(page, "patient-picture")
            await holder.back()
            await holder.show(BROKEN_PDF[2])
            await expect(page.locator("main .wrong")).to_be_visible()
            await self._show(page, "patient-cannot-be-shown")
            await holder.back()
            await holder.save("Laborbericht")
            await self._show(page, "patient-saved")

    async def _held_up(self, holder: PatientPage) -> None:
        """A document that takes its time, is broken off, breaks, or comes changed."""
        page = holder.page
        async with held(page, "**/share/document"):
            await holder.show("EKG in Ruhe")
            await expect(page.locator("progress")).to_be_visible()
            await self._show(page, "patient-opening")
            await page.locator("main button").click()
            await expect(page.locator(".documents")).to_be_visible()
            await self._show(page, "patient-stopped")
        holder.watch.expected += ["/share/document", "ERR_FAILED"]
        async with routed(page, "**/share/document", lambda route: route.abort()):
            await holder.show("EKG in Ruhe")
            await expect(page.locator("main .wrong")).to_be_visible()
            await self._show(page, "patient-connection-broken")
            await page.locator("main button").click()
            await expect(page.locator(".documents")).to_be_visible()
        async with routed(page, "**/share/document", change):
            await holder.show("EKG in Ruhe")
            await holder.expect_message("tampered")
            await self._show(page, "patient-changed-on-the-way")
        await page.locator("main button").click()
        await expect(page.locator("img.picture")).to_be_visible()
        await holder.back()

    async def failures(self, link: str) -> None:
        """Links that open nothing, and why."""
        async with self._holder() as holder:
            page = holder.page
            holder.watch.expected += ["/api/state", "status of 404", "%23", "ERR_FAILED"]
            await page.goto(link.partition("#")[0])
            await holder.expect_message("missing")
            await self._show(page, "patient-link-not-complete")
            await page.goto(link[:-4] + ("AAAA" if link[-4:] != "AAAA" else "AAAE"))
            await holder.expect_message("unknown")
            await self._show(page, "patient-link-unknown")
            await page.goto(link.replace("#", "%23"))
            await holder.expect_message("leaked")
            await self._show(page, "patient-link-changed")
            async with routed(page, "**/api/state", lambda route: route.abort()):
                await page.goto(link)
                await holder.expect_message("unreachable")
                await self._show(page, "patient-not-reachable")
            await page.goto("about:blank")
            async with routed(page, "**/api/state", lambda route: route.fulfill(json=EXPIRED)):
                await page.goto(link)
                await holder.expect_message("expired")
                await self._show(page, "patient-expired")
        async with self._holder() as holder:
            await holder.page.add_init_script(OLD_BROWSER)
            await holder.page.goto(link)
            await holder.expect_message("unsupported")
            await self._show(holder.page, "patient-browser-too-old")

    async def guess(self, link: str, pin: str) -> None:
        """Five wrong PINs."""
        async with self._holder() as holder:
            await holder.open(link)
            for left in ("4", "3", "2", "1"):
                await holder.offer(other_pin(pin))
                await expect(holder.page.locator("#problem .wrong")).to_contain_text(left)
            await self._show(holder.page, "patient-last-try")
            await holder.offer(other_pin(pin))
            await holder.expect_message("closed")
            await self._show(holder.page, "patient-closed")

    async def revoked(self, link: str) -> set[str]:
        """A share that the practice has ended; gives the headings of all messages there are."""
        async with self._holder() as holder:
            await holder.open(link)
            await holder.expect_message("revoked")
            await self._show(holder.page, "patient-revoked")
            return set(await holder.page.evaluate(MESSAGES, self._language[:2]))


@asynccontextmanager
async def routed(page: Page, pattern: str, answer: Callable[[Route], object]) -> AsyncIterator[None]:
    """Answer these requests in the box's place while the block runs."""
    await page.route(pattern, answer)
    yield
    await page.unroute(pattern)


@asynccontextmanager
async def held(page: Page, pattern: str) -> AsyncIterator[None]:
    """Let these requests wait until the block ends."""
    go_on = asyncio.Event()

    async def wait(route: Route) -> None:
        await go_on.wait()
        with suppress(Error):  # the page has given the request up meanwhile
            await route.continue_()

    async with routed(page, pattern, wait):
        yield
        go_on.set()


async def change(route: Route) -> None:
    """Answer other bytes than the box's."""
    await route.fulfill(body=bytes(1 << 20), content_type="application/octet-stream")
