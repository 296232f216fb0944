"""The pages of a factory reset, from the login page, a locked box and a shut one: `show(page, name)` is called at each.

The reset itself comes last: of the box nothing is left after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

from aiohttp.test_utils import TestServer
from playwright.async_api import Page, expect

from appliance.core.varlink import Peer, WatchedPeer
from appliance.practice import shut_page
from tests.browser.chromium import TIMEOUT_MS
from tests.browser.practice_pages import PracticePages
from tests.simulators.button import hold_button

WRONG_CODE = "AAAAA-AAAAA-AAAAA-AAAAA"
WORD = "LÖSCHEN"  # counts in every language
#: Nobody could look at a page that loads itself again meanwhile.
LOOKED_AT_S = 600
#: Somebody exchanged the board; a box that is being reset; a reason that has no sentence of its own.
WHY_SHUT = ("other_tpm", "resetting", "nobody_knows")

Show = Callable[[Page, str], Awaitable[None]]


class ResetTour:
    """Somebody at the practice who wants the box emptied."""

    def __init__(self, pages: PracticePages, show: Show) -> None:
        self._pages = pages
        self._page = pages.page
        self._show = show

    async def by_code(self, code: str) -> None:
        """From the login page to the last question, with the code of the first day; nobody is at the box."""
        await self._begin("staff-reset")
        await self._pages.fill(code=WRONG_CODE)
        await self._go_on()
        await self._refused("staff-reset-refused")
        await self._pages.fill(code=code)
        await self._go_on()
        await self._page.locator("#field-word").wait_for()
        await self._show(self._page, "staff-reset-button")
        await self._finish(WORD)
        await self._refused("staff-reset-nobody-at-the-box")

    async def by_sheets(self, sheets: list[list[str]], state: Path) -> None:
        """From a locked box to the end, with two sheets, and the button held."""
        await self._begin()
        await self._page.locator("summary").click()
        await self._show(self._page, "staff-reset-sheets")
        await self._type(sheets[0][:-1], sheets[1])
        await self._refused("staff-reset-sheets-refused")
        await self._type(sheets[0], sheets[1])
        await self._page.locator("#field-word").wait_for()
        await self._finish("ja")
        await self._refused("staff-reset-word-refused")
        await asyncio.to_thread(hold_button, state)
        async with asyncio.timeout(TIMEOUT_MS / 1000):
            while not await self._page.locator("main .done").count():  # vault hears of the button a moment later
                await self._finish(WORD)
        await self._show(self._page, "staff-reset-begun")

    async def _begin(self, name: str = "") -> None:
        await self._page.locator("main a[href='/reset']").click()
        await self._page.locator("#field-code").wait_for()
        if name:
            await self._show(self._page, name)

    async def _type(self, first: list[str], second: list[str]) -> None:
        """Type two sheets as people do: the first letters of each word."""
        typed = [" ".join(word[:4] for word in words) for words in (first, second)]
        await self._pages.fill(first=typed[0], second=typed[1])
        await self._go_on()

    async def _finish(self, word: str) -> None:
        await self._pages.fill(word=word)
        await self._go_on()

    async def _go_on(self) -> None:
        async with self._page.expect_navigation():
            await self._page.locator("main form button").click()

    async def _refused(self, name: str) -> None:
        await expect(self._page.locator("#error")).to_be_visible()
        await self._show(self._page, name)


async def shut_tour(page: Page, vault: Peer | WatchedPeer, show: Show) -> None:
    """Show the page of a shut box; it leads to the reset, but for the box that is being reset."""
    with mock.patch.object(shut_page, "RELOAD_S", LOOKED_AT_S):
        for why in WHY_SHUT:
            async with TestServer(shut_page.shut_application(why, vault)) as server:
                await page.goto(str(server.make_url("/")))
                await show(page, f"shut-{why.replace('_', '-')}")
                links = page.locator("a[href^='/reset']")
                await expect(links).to_have_count(0 if why == "resetting" else 2)
                if await links.count():
                    await links.first.click()
                    await page.locator("#field-code").wait_for()
