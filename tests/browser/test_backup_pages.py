"""The pages of backup, restore, earlier shares and a shut box in a browser, with a backup that is played: no box is needed."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.accessibility import DESKTOP, SMALL_PHONE, look_at, look_enlarged
from tests.browser.on_paper import look_on_paper
from tests.browser.tour_backup import played_tour

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LOOKS = {"de-DE": ((SMALL_PHONE, "dark"), (DESKTOP, "light")), "en-GB": ((SMALL_PHONE, "light"),)}


@pytest.mark.parametrize("language", LOOKS)
async def test_the_pages_of_backup_restore_and_a_shut_box_have_no_finding_fit_small_phones_and_print_clean(
    language: str,
) -> None:
    broken: list[str] = []
    names: list[str] = []

    async def look(page: Page, name: str) -> None:
        names.append(name)
        found = [one for viewport, scheme in LOOKS[language] for one in await look_at(page, viewport, scheme)]
        if language == "de-DE":
            found += await look_enlarged(page) + await look_on_paper(page)
        broken.extend(f"{name}: {one}" for one in found)

    said = await played_tour(look, language)
    assert len(names) == len(set(names))
    assert not [one for one in said if "status of" not in one], "a script error or a violation of the policy"
    assert not broken, "\n".join(broken)
