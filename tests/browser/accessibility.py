"""Judges a page as people with other eyes, hands and devices meet it: axe's rules, and our own (page_rules.js).

axe-core is Deque's engine for WCAG and best practices; it comes by npm, for tests alone (package.json here). Every
rule is on, those it calls experimental excepted. A frame is a page of its own: the PDF viewer has another origin,
which no script of the page around it may enter.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import Frame, Page, ViewportSize

HERE = Path(__file__).parent
AXE = (HERE / "node_modules/axe-core/axe.min.js").read_text()
PAGE_RULES = (HERE / "page_rules.js").read_text()

#: The smallest phone still in use (iPhone SE of 2016); the narrowest that pages must fit (WCAG 2.2, 1.4.10).
SMALL_PHONE: ViewportSize = {"width": 320, "height": 568}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
#: A desk's window of 1280 x 800 at 200 % zoom (1.4.4).
ZOOMED: ViewportSize = {"width": 640, "height": 400}

RUN_AXE = """
async (rules) => {
  const only = rules.length ? { runOnly: { type: "rule", values: rules } } : {};
  const { violations } = await axe.run(document, { iframes: false, resultTypes: ["violations"], ...only });
  return violations.map(({ id, help, nodes }) =>
    `${id} (${help}): ${nodes.map(({ html, any }) => `${html.slice(0, 160)} ${any[0]?.message ?? ""}`).join(" | ")}`);
}
"""
#: Letters twice as large, as a person sets them in the browser; the patient's page begins with larger ones.
LARGE_TYPE = """
() => {
  const root = document.documentElement;
  root.style.fontSize = "";
  root.style.fontSize = `${2 * parseFloat(getComputedStyle(root).fontSize)}px`;
}
"""
NORMAL_TYPE = "() => { document.documentElement.style.fontSize = ''; }"


async def axe_findings(frame: Page | Frame, rules: Sequence[str] = ()) -> list[str]:
    """Give what axe finds wrong; of these rules, or of all."""
    if await frame.evaluate("typeof axe") == "undefined":
        await frame.evaluate(AXE)
    found: list[str] = await frame.evaluate(RUN_AXE, list(rules))
    return found


async def look_at(page: Page, viewport: ViewportSize, scheme: Any, rules: Sequence[str] = ()) -> list[str]:
    """Give everything wrong with a page at one size and in one colour scheme, its frames included."""
    await page.wait_for_load_state()
    await page.set_viewport_size(viewport)
    await page.emulate_media(color_scheme=scheme)
    found = list(await page.evaluate(PAGE_RULES))
    for frame in page.frames:
        found += await axe_findings(frame, rules)
    return [f"{viewport['width']} px, {scheme}: {one}" for one in found]


async def look_enlarged(page: Page) -> list[str]:
    """Give what is lost at 200 % zoom, and with letters of twice the size."""
    await page.set_viewport_size(ZOOMED)
    zoomed = list(await page.evaluate(PAGE_RULES))
    await page.set_viewport_size(DESKTOP)
    await page.evaluate(LARGE_TYPE)
    large = list(await page.evaluate(PAGE_RULES))
    await page.evaluate(NORMAL_TYPE)
    return [f"200 % zoom: {one}" for one in zoomed] + [f"200 % type: {one}" for one in large]
