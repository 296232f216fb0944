"""Walk 1 by browser, on a box that nobody has claimed yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.chromium import opened_chromium, visitor
from tests.browser.practice_pages import PracticePages
from tests.simulators.demo_box import running_box

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

PRACTICE = {"practice_name": "Praxis am Lindenplatz", "telephone": "030 5550 1234"}
MEDIA_TYPES = {".pdf": "application/pdf", ".txt": "text/plain", ".jpg": "image/jpeg", ".png": "image/png"}
PASSWORD = "ein kurzer Satz merkt sich"


async def test_staff_claim_the_box_with_its_printed_code_and_keep_documents(files: dict[str, Path]) -> None:
    with running_box(empty=True) as box:
        async with opened_chromium(box) as chromium, visitor(chromium, box) as (context, watch):
            watch.expected += ["/claim"]
            pages = PracticePages(await context.new_page(), box.practice_url, watch)
            await refuse_a_wrong_code(pages, box.claim_code)
            await claim(pages, box.claim_code)
            await keep_documents(pages, files)


async def refuse_a_wrong_code(pages: PracticePages, code: str) -> None:
    await pages.open("/")
    assert pages.path == "/claim"
    await expect(pages.page.locator("html")).to_have_attribute("lang", "de")
    wrong = code[:-1] + ("0" if code[-1] != "0" else "1")
    await pages.claim(wrong, "Sabine Keller", PASSWORD, **PRACTICE)
    await expect(pages.page.locator("#error")).to_be_visible()
    assert await pages.page.locator("#field-practice_name").input_value() == PRACTICE["practice_name"], "kept"
    assert await pages.page.locator("#field-code").input_value() == "", "never shown again"
    assert await pages.page.locator("#field-password").input_value() == "", "never shown again"


async def claim(pages: PracticePages, code: str) -> None:
    await pages.claim(code.lower(), "Sabine Keller", PASSWORD, **PRACTICE)
    await pages.page.wait_for_url("**/patients?done=claimed")
    await expect(pages.page.locator(".practice")).to_have_text(PRACTICE["practice_name"])
    await pages.open("/claim")
    assert pages.path != "/claim", "a box is claimed once"
    [cookie] = [one for one in await pages.page.context.cookies() if "session" in one["name"]]
    assert cookie["name"].startswith("__Host-")
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")


async def keep_documents(pages: PracticePages, files: dict[str, Path]) -> None:
    patient = await pages.create_patient("Öztürk-Weiß", "Zoë", "5.3.1962", "A-17")
    for kind, file in files.items():
        await pages.upload(file, kind, title=f"Blatt {kind}")
    documents = await pages.documents()
    assert set(documents) == {f"Blatt {kind}" for kind in files}
    for kind, file in files.items():
        document = documents[f"Blatt {kind}"]
        assert await pages.download(document) == (file.name, file.read_bytes())
        assert await pages.fetch(f"/documents/{document}/open") == file.read_bytes()
        await pages.expect_tab(f"/documents/{document}/open", MEDIA_TYPES[file.suffix])
    await correct(pages, patient)


async def correct(pages: PracticePages, patient: str) -> None:
    await pages.open(f"{patient}/edit")
    await pages.fill(family_name="Öztürk")
    await pages.send("/edit")
    await expect(pages.page.locator("h1")).to_contain_text("Öztürk, Zoë")
    assert len(await pages.documents()) == 4
