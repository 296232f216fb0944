"""One Chromium for the session's box; every test is another person with an empty browser.

The tests of this folder share an event loop (a browser belongs to the loop that started it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, StorageState

from tests.browser.chromium import PHONE, opened_chromium, visitor
from tests.browser.patient_page import PatientPage
from tests.browser.practice_pages import PracticePages
from tests.simulators.demo_box import DemoBox
from tests.simulators.sample_documents import TEXT, picture, report_pdf


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(box: DemoBox) -> AsyncIterator[Browser]:
    """A browser that trusts the session's box."""
    async with opened_chromium(box) as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cookies(chromium: Browser, box: DemoBox) -> StorageState:
    """What the browser of the member of staff "Demo" holds after logging in, once for all tests."""
    async with visitor(chromium, box) as (context, watch):
        pages = PracticePages(await context.new_page(), box.practice_url, watch)
        await pages.log_in(box.said["staff"], box.said["password"])
        await pages.page.wait_for_url("**/patients")
        return await context.storage_state()


@pytest_asyncio.fixture(loop_scope="session")
async def reception(chromium: Browser, box: DemoBox, cookies: StorageState) -> AsyncIterator[PracticePages]:
    """The member of staff "Demo" at the practice's desk, logged in."""
    async with visitor(chromium, box, storage_state=cookies) as (context, watch):
        yield PracticePages(await context.new_page(), box.practice_url, watch)


@pytest_asyncio.fixture(loop_scope="session")
async def holder(chromium: Browser, box: DemoBox) -> AsyncIterator[PatientPage]:
    """A patient with a telephone, at home."""
    async with visitor(chromium, box, viewport=PHONE, has_touch=True) as (context, watch):
        yield PatientPage(await context.new_page(), watch)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A document of each type, by kind."""
    folder = tmp_path_factory.mktemp("documents")
    contents = {
        "finding": ("befund.pdf", report_pdf()),
        "lab": ("labor.txt", TEXT),
        "image": ("röntgen.jpg", picture("JPEG")),
        "letter": ("brief.png", picture("PNG", 800, 600)),
    }
    made = {}
    for kind, (name, content) in contents.items():
        made[kind] = folder / name
        made[kind].write_bytes(content)
    return made
