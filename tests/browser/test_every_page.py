"""Every page of the tour, looked at on a small telephone and a desk, in light and dark; the tour itself notices script
errors, policy violations, failed requests and requests to hosts that are not the box's."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.browser.chromium import DESKTOP, opened_chromium
from tests.browser.tour import tour
from tests.simulators.demo_box import running_box

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PAGE_RULES = Path(__file__).with_name("page_rules.js").read_text()
#: The narrowest screen that pages must fit without scrolling sideways (WCAG 2.2, 1.4.10).
SMALL_PHONE = {"width": 320, "height": 640}


async def test_every_page_fits_small_screens_reads_well_and_is_reached_by_finger_and_screen_reader() -> None:
    broken: list[str] = []
    seen: list[str] = []

    async def look(page: Page, name: str) -> None:
        seen.append(name)
        for viewport, scheme in ((SMALL_PHONE, "dark"), (DESKTOP, "light")):
            await page.set_viewport_size(viewport)
            await page.emulate_media(color_scheme=scheme)
            found = await page.evaluate(PAGE_RULES)
            broken.extend(f"{name} at {viewport['width']} px, {scheme}: {one}" for one in found)

    async def look_at_sheet(name: str, pdf: bytes) -> None:
        seen.append(name)
        assert pdf.startswith(b"%PDF-")

    with running_box(empty=True) as box:
        async with opened_chromium(box) as chromium:
            await tour(box, chromium, look, look_at_sheet)
    assert len(seen) == len(set(seen))
    assert not broken, "\n".join(broken)
