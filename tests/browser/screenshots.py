"""Makes every screenshot anew: `python -m tests.browser.screenshots docs/screenshots` (as root, like `make run`).

Each page is taken at the size of a telephone and of a desk; the printed sheets as they leave the printer. Pictures
have a palette of few colours: text stays sharp, and a page takes some 25 KB.
"""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path

from PIL import Image
from playwright.async_api import Page

from tests.browser.chromium import DESKTOP, PHONE, opened_chromium
from tests.browser.paper import picture_of
from tests.browser.tour import tour
from tests.browser.tour_backup import played_tour
from tests.simulators.demo_box import running_box

SIZES = {"phone": PHONE, "desktop": DESKTOP}
COLOURS = 48
SHEET_WIDTH = 600
SHOWN_WIDTHS = {"phone": 150, "desktop": 420}
GALLERY = """# Every page, in the order of the tour

Made by `.venv/bin/python -m tests.browser.screenshots docs/screenshots`. What was judged and changed: [looks.md](../looks.md).

| page | phone | desktop |
| --- | --- | --- |
"""
#: The PDF viewer paints anew some time after its frame has another size; it does not say when.
SETTLED_S = 0.6


def reduced(picture: Image.Image) -> bytes:
    """Give a picture as a small PNG."""
    out = io.BytesIO()
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=True)
    return out.getvalue()


class Album:
    """The folder that the pictures go to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []

    async def show(self, page: Page, name: str) -> None:
        """Take a page in both sizes."""
        self._names.append(name)
        for size, viewport in SIZES.items():
            await page.set_viewport_size(viewport)
            if await page.locator("iframe.pdf").count():
                await asyncio.sleep(SETTLED_S)
            else:  # a window as high as the page: what stays at the window's edge is then at the page's
                height = await page.evaluate("document.documentElement.scrollHeight")
                await page.set_viewport_size({"width": viewport["width"], "height": max(height, viewport["height"])})
            taken = await page.screenshot(full_page=True, animations="disabled", caret="hide")
            (self._folder / f"{name}-{size}.png").write_bytes(reduced(Image.open(io.BytesIO(taken))))

    async def show_sheet(self, name: str, pdf: bytes) -> None:
        """Take a printed sheet."""
        self._names.append(name)
        sheet = picture_of(pdf)
        height = round(sheet.height * SHEET_WIDTH / sheet.width)
        sheet = sheet.resize((SHEET_WIDTH, height), Image.Resampling.LANCZOS)
        (self._folder / f"{name}.png").write_bytes(reduced(sheet))

    def write_gallery(self) -> None:
        """Write the page that shows them all, in the order of the tour."""
        rows = []
        for name in self._names:
            if name.startswith("paper-"):
                rows.append(f'| {name} | <img src="{name}.png" width="150"> | |')
            else:
                images = (f'<img src="{name}-{size}.png" width="{width}">' for size, width in SHOWN_WIDTHS.items())
                rows.append(f"| {name} | {' | '.join(images)} |")
        (self._folder / "README.md").write_text(GALLERY + "\n".join(rows) + "\n", encoding="utf-8")

    def take_away_old(self) -> None:
        """Take away pictures of pages that are no more."""
        kept = {f"{name}{size}.png" for name in self._names for size in ("", *(f"-{size}" for size in SIZES))}
        for path in self._folder.glob("*.png"):
            if path.name not in kept:
                path.unlink()


async def main(folder: Path) -> None:
    """Start an unclaimed box, walk through its pages, and end it."""
    folder.mkdir(parents=True, exist_ok=True)
    album = Album(folder)
    with running_box(empty=True) as box:
        async with opened_chromium(box) as chromium:
            await tour(box, chromium, album.show, album.show_sheet)
    await played_tour(album.show)
    album.write_gallery()
    album.take_away_old()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
