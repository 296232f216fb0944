"""From the unclaimed box to the opened document without a mouse: Tab, Enter, Space and typing."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.async_api import FileChooser, Page, expect
from playwright.async_api import TimeoutError as NoDialog

from tests.browser.chromium import opened_chromium, visitor
from tests.simulators.demo_box import running_box

pytestmark = [pytest.mark.box, pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

MAX_TABS = 40
PASSWORD = "ein kurzer Satz merkt sich"
#: What is wrong with where the focus is: "" if nothing. After the last control the focus leaves the page for the
#: browser's own, and comes back at the first. Sources: WCAG 2.2, 2.4.3, 2.4.7, 2.4.11.
FOCUS = """
(by) => {
  const here = document.activeElement;
  const last = window.lastFocused;
  window.lastFocused = here === document.body ? undefined : here;
  if (here === document.body || here.localName === "iframe") return "";
  const { outlineStyle, outlineWidth } = getComputedStyle(here);
  if (outlineStyle === "none" || parseFloat(outlineWidth) < 2) return "cannot be seen";
  const { left, top, right, bottom } = here.getBoundingClientRect();
  const found = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
  if (!found || !(here.contains(found) || found.contains(here))) return "is under something else";
  const direction = by === "Tab" ? Node.DOCUMENT_POSITION_FOLLOWING : Node.DOCUMENT_POSITION_PRECEDING;
  const isOrdered = !last?.isConnected || last === here || last.compareDocumentPosition(here) & direction;
  return isOrdered ? "" : "jumps";
}
"""


class Keyboard:
    """A person who has no mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def reach(self, selector: str, by: str = "Tab") -> None:
        """Press Tab (or Shift+Tab) until the focus is there; wherever it comes to rest, it is to be seen.

        On a page that is whole: what is in it already may still be without its style sheet.
        """
        await self.page.wait_for_load_state()
        for _ in range(MAX_TABS):
            if await self.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            await self.page.keyboard.press(by)
            wrong = await self.page.evaluate(FOCUS, by)
            assert not wrong, f"the focus, on the way to {selector}, {wrong}"
        raise AssertionError(f"{selector} is not reached by Tab")

    async def press(self, selector: str, key: str = "Enter", by: str = "Tab") -> None:
        await self.reach(selector, by)
        await self.page.keyboard.press(key)

    async def type(self, **fields: str) -> None:
        """Fill in fields, going from one to the next."""
        for name, text in fields.items():
            await self.reach(f"#field-{name}")
            await self.page.keyboard.type(text)


async def test_the_keyboard_is_enough_from_claiming_the_box_to_reading_the_document(files: dict[str, Path]) -> None:
    with running_box(empty=True) as box:
        async with opened_chromium(box) as chromium, visitor(chromium, box) as (context, _):
            page = await context.new_page()
            await page.goto(urljoin(box.practice_url, "/claim"))
            await expect(page.locator("#field-code")).to_be_focused()
            link, pin = await share_as_staff(Keyboard(page), box.claim_code, files["finding"])
        async with opened_chromium(box) as chromium, visitor(chromium, box) as (context, _):
            page = await context.new_page()
            await page.goto(link)
            await expect(page.locator("#pin")).to_be_focused()
            await read_as_patient(Keyboard(page), pin)


async def file_chooser(page: Page) -> FileChooser:
    """Press Space on a file field. Chromium drops the dialog if it comes to it more than five seconds after the key.

    (Transient user activation, HTML standard, 6.4.) On a busy machine it may; a person presses again.
    """
    for _ in range(4):
        with contextlib.suppress(NoDialog):
            async with page.expect_file_chooser(timeout=10_000) as choosing:
                await page.keyboard.press("Space")
            return await choosing.value
    raise AssertionError("Space opens no dialog")


async def share_as_staff(keyboard: Keyboard, code: str, file: Path) -> tuple[str, str]:
    page = keyboard.page
    await keyboard.type(
        code=code,
        practice_name="Praxis am Lindenplatz",
        telephone="030 5550 1234",
        name="Sabine Keller",
        password=PASSWORD,
        password_again=PASSWORD,
    )
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/patients?done=claimed")

    await keyboard.press("main a[href='/patients/new']")
    await page.wait_for_url("**/patients/new")
    await keyboard.type(family_name="Mustermann", given_name="Erika", birth_date="12.8.1964")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/patients/*?done=*")

    await keyboard.reach("#field-file")
    await (await file_chooser(page)).set_files(file)
    await keyboard.press("form.upload button", "Space")
    await expect(page.locator("input[name='documents']")).to_have_count(1)

    await keyboard.press("input[name='documents']", "Space")
    await expect(page.locator("input[name='documents']")).to_be_checked()
    await keyboard.press("main form[action$='/shares'] button")
    await page.wait_for_url("**/shares/*/link")
    link = await page.locator("#link").inner_text()
    await keyboard.press("form[action$='/link-printed'] button")
    await page.wait_for_url("**/shares/*/pin")
    pin = (await page.locator("#pin").inner_text()).replace(" ", "")
    await keyboard.press("form[action$='/pin-printed'] button", "Space")
    await page.wait_for_url("**/patients/*?done=*")
    return link, pin


async def read_as_patient(keyboard: Keyboard, pin: str) -> None:
    page = keyboard.page
    await page.keyboard.type(pin)
    await page.keyboard.press("Enter")
    await expect(page.locator(".documents")).to_be_visible()
    await expect(page.locator("h1")).to_be_focused()
    await keyboard.press(".documents button", "Space")
    await expect(page.locator("iframe.pdf[data-shown]")).to_be_visible()
    [viewer] = [frame for frame in page.frames if frame.url.endswith("/viewer.html")]
    await expect(viewer.locator("#larger")).to_be_enabled()
    await keyboard.reach("iframe.pdf")
    if await viewer.evaluate("document.activeElement.id") == "pages":  # drawn anew just then: its buttons rested
        await page.keyboard.press("Shift+Tab")
    assert await viewer.evaluate("document.activeElement.id") == "larger"
    assert await viewer.evaluate(FOCUS, "Tab") == ""
    width = await viewer.locator("canvas").first.evaluate("(canvas) => canvas.clientWidth")
    await page.keyboard.press("Enter")
    await expect(viewer.locator("canvas").first).not_to_have_js_property("clientWidth", width)
    await keyboard.press(
        "main .buttons button:first-child", by="Shift+Tab"
    )  # back out of the document, to what stands before it
    await expect(page.locator(".documents")).to_be_visible()
