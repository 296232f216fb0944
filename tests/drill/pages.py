"""The drill's staff at the practice's pages: choose where copies go, make one, bring everything back, share anew."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

from appliance.demo.browser import Page
from appliance.demo.staff import LINK, PIN
from tests.simulators.staff import Staff

LONGEST_WAIT_S = 3600.0
PAUSE_S = 1.0


async def set_store(staff: Staff, disk: str) -> None:
    """Have copies go to a disk."""
    page = await staff.open("/backup/store?kind=disk")
    page = await staff.browser.send(page.form("kind", "place"), {"place": disk})
    assert page.url.endswith("done=store_set"), page.text


async def back_up(staff: Staff) -> None:
    """Make a copy now, and wait until it was fetched back and compared."""
    page = await staff.open("/backup")
    await staff.browser.send(page.form_to("/backup/start"), {})
    page = await _until(staff, "/backup/progress", lambda page: "progress" not in _marks(page))
    assert 'data-standing="good_today"' in page.text, page.text


async def type_sheets(staff: Staff, sheets: list[list[str]], password: str) -> None:
    """Type two sheets as people do: the first letters of each word."""
    page = await staff.open("/restore")
    first, second = ("".join(word[:4] for word in words) for words in sheets)
    await staff.browser.send(page.form("first", "second"), {"first": first, "second": second, "password": password})


async def set_old_store(staff: Staff, disk: str) -> int:
    """Say where the copies are; give the newest generation, which the page has chosen."""
    page = await staff.open("/restore/store?kind=disk")
    page = await staff.browser.send(page.form("kind", "place"), {"place": disk})
    return max(map(int, page.form("generation").controls["generation"]))


async def restore(staff: Staff, generation: int) -> Page:
    """Start, and wait until the page says what came."""
    page = await staff.open("/restore")
    await staff.browser.send(page.form("generation"), {"generation": str(generation)})
    return await _until(staff, "/restore/progress", lambda page: 'data-step="done"' in page.text)


async def share_anew(staff: Staff) -> list[tuple[str, str]]:
    """Make every earlier share anew; give (link, PIN) of each as the two papers have them."""
    page = await staff.open("/shares/earlier")
    ticked = page.form("shares", "valid_days").controls["shares"]
    page = await staff.browser.send(page.form("shares", "valid_days"), {"shares": ticked})
    made = []
    for share in sorted(set(re.findall(r"/shares/([0-9a-f]{32})/link", page.text))):
        paper = await staff.open(f"/shares/{share}/link")
        link = LINK.search(paper.text)
        paper = await staff.browser.send(paper.form_to("/link-printed"), {})
        pin = PIN.search(paper.by_id["pin"].replace(" ", ""))
        assert link, paper.text
        assert pin, paper.text
        await staff.browser.send(paper.form_to("/pin-printed"), {})
        made.append((link[0], pin[0]))
    return made


def _marks(page: Page) -> set[str]:
    return set(re.findall(r'id="([a-z-]+)"', page.text))


async def _until(staff: Staff, path: str, is_done: Callable[[Page], bool]) -> Page:
    """Look at a page again and again, as its reader does, until it is done; a failure that it tells ends the drill."""
    give_up_at = time.monotonic() + LONGEST_WAIT_S
    while True:
        page = await staff.open(path)
        assert not {"backup-failure", "restore-failure"} & _marks(page), page.text
        if is_done(page):
            return page
        assert time.monotonic() < give_up_at, page.text
        await asyncio.sleep(PAUSE_S)
