"""What a page leaves on paper: the things a person keeps, and nothing to press."""

from __future__ import annotations

from playwright.async_api import Page

#: Sources: WCAG 2.2, 1.4.3; CSS Paged Media. Ink is for letters: the ground of the page stays white.
PAPER_RULES = """
() => {
  const found = [];
  const isVisible = (element) => element.checkVisibility({ visibilityProperty: true });
  for (const control of document.querySelectorAll("button, .button, input, select, nav, summary, progress")) {
    if (isVisible(control)) found.push(`to press: ${control.localName} "${control.textContent.trim().slice(0, 40)}"`);
  }
  const ground = getComputedStyle(document.body).backgroundColor;
  if (!["rgba(0, 0, 0, 0)", "rgb(255, 255, 255)"].includes(ground)) found.push(`ground ${ground}`);
  const ink = getComputedStyle(document.body).color.match(/[0-9.]+/g).map(Number);
  if (Math.max(...ink.slice(0, 3)) > 80) found.push(`light ink ${ink}`);
  return found;
}
"""


async def look_on_paper(page: Page) -> list[str]:
    """Give what does not belong on paper; the screen is dark, which paper must not be."""
    await page.emulate_media(media="print", color_scheme="dark")
    found: list[str] = await page.evaluate(PAPER_RULES)
    await page.emulate_media(media="screen", color_scheme="light")
    return [f"on paper: {one}" for one in found]
