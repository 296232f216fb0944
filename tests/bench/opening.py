"""From the click on a document to the document on the screen: a patient's Chromium, through portal and tunnel.

The clock is the browser's: from the click on the entry's button to the second frame after the document stands in the page,
so that it was painted. The page is open, the PIN given. Every document is opened once: nothing of it is in a cache.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable
from statistics import median

from fpdf import FPDF
from PIL import Image
from playwright.async_api import Browser, expect

from tests.bench.figures import Figure, Goal
from tests.browser.chromium import PHONE, opened_chromium, visitor
from tests.browser.patient_page import PatientPage
from tests.simulators.demo_box import DemoBox
from tests.simulators.staff import Staff, staff_of

GOAL = Goal(1.0, on="value", at_most=True)
MEGABYTE = 1_000_000
TIMES, SHORT_TIMES = 11, 1

#: Starts the clock at the next click on the button; `window.opened` gives the seconds until what `selector` names is painted.
WATCH = """
([button, selector]) => {
  window.opened = new Promise((resolve) => {
    button.addEventListener("click", () => {
      const began = performance.now();
      const look = () => {
        const shown = document.querySelector(selector);
        if (!shown || (shown.localName === "img" && !(shown.complete && shown.naturalWidth))) {
          requestAnimationFrame(look);
          return;
        }
        requestAnimationFrame(() => requestAnimationFrame(() => resolve((performance.now() - began) / 1000)));
      };
      look();
    }, { once: true, capture: true });
  });
}
"""


def noise(kind: str, width: int, height: int, **options: int) -> bytes:
    """A picture that cannot be made smaller, as a scan: its size depends on its pixels alone."""
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), os.urandom(width * height * 3)).save(out, kind, **options)
    return out.getvalue()


def text() -> bytes:
    line = f"{secrets.token_hex(20)} Hämoglobin 14,1 g/dl, Leukozyten 6,2 /nl\n".encode()
    return (line * (MEGABYTE // len(line) + 1))[:MEGABYTE]


def picture() -> bytes:
    return noise("JPEG", 1320, 1072, quality=82)


def pdf() -> bytes:
    """A page with words and a scan."""
    made = FPDF(format="A4")
    made.add_page()
    made.set_font("Helvetica", "", 14)
    made.cell(0, 10, f"Befundbericht {secrets.token_hex(4)}", new_x="LMARGIN", new_y="NEXT")
    made.image(io.BytesIO(noise("PNG", 640, 520)), w=180)
    return bytes(made.output())


#: What it is called, how one is made, its name and type, and what stands in the page once it is shown.
KINDS: tuple[tuple[str, Callable[[], bytes], str, str, str], ...] = (
    ("PDF", pdf, "b.pdf", "application/pdf", "iframe.pdf[data-shown]"),
    ("picture", picture, "b.jpg", "image/jpeg", "img.picture"),
    ("text", text, "b.txt", "text/plain", "pre.text"),
)


async def measure(box: DemoBox, *, short: bool = False) -> list[Figure]:
    """Give a figure for each kind of document."""
    times = SHORT_TIMES if short else TIMES
    async with staff_of(box) as staff, opened_chromium(box) as browser:
        return [await _figure(staff, browser, box, kind, times) for kind in (KINDS[:1] if short else KINDS)]


async def _figure(
    staff: Staff, browser: Browser, box: DemoBox, kind: tuple[str, Callable[[], bytes], str, str, str], times: int
) -> Figure:
    label, make, name, media_type, selector = kind
    patient = await staff.create_patient(f"Klick{secrets.token_hex(4)}")
    titles, sizes = [f"{label} {number}" for number in range(times)], []
    for title in titles:
        content = make()
        sizes.append(len(content))
        await staff.upload(patient, content, name=name, media_type=media_type, title=title)
    assert 0.9 < median(sizes) / MEGABYTE < 1.15, (label, median(sizes))
    link, pin = await staff.share(patient)
    async with visitor(browser, box, viewport=PHONE, has_touch=True) as (context, watch):
        holder = PatientPage(await context.new_page(), watch)
        await holder.open_share(link, pin)
        measured = [await seconds(holder, title, selector) for title in titles]
    # The first counts too, though it brings the page's own files for its kind with it (the PDF viewer's, above all).
    return Figure(f"click to opened {label}, 1 MB", "s", tuple((one, None) for one in measured), GOAL)


async def seconds(holder: PatientPage, title: str, selector: str) -> float:
    """Open one document, give how long it took, and go back."""
    button = holder.entry(title).locator("button").first
    await holder.page.evaluate(WATCH, [await button.element_handle(), selector])
    await button.click()
    took = float(await holder.page.evaluate("() => window.opened"))
    await expect(holder.page.locator(selector)).to_be_visible()
    await holder.back()
    return took
