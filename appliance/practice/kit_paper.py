"""A sheet of the recovery kit, A4, its own PDF: 33 numbered words, the same as a QR code, where to keep it.

No file holds two sheets: any two open the backups. A sheet names the practice, for whoever finds it in a drawer.
Drawing blocks, so callers use a thread.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from appliance.practice.sheets import MARGIN_MM, draw_code, draw_line, new_page
from appliance.practice.texts import Texts

if TYPE_CHECKING:
    from fpdf import FPDF

COLUMNS = 3
ROW_MM = 8.2
CODE_MM = 58


@dataclass(frozen=True)
class KitSheet:
    """What stands on a sheet; `checked` are the numbers of the words that a check asks for."""

    practice_name: str
    number: int
    name: str
    words: str = field(repr=False)
    checked: list[int]
    made: str


def draw_kit_sheet(sheet: KitSheet, t: Texts) -> bytes:
    """Draw a sheet in one language."""
    title = t("kit_paper.title", number=sheet.number)
    pdf = new_page("A4", MARGIN_MM, title, t.language)
    draw_line(pdf, sheet.practice_name, size=13, bold=True)
    pdf.ln(3)
    draw_line(pdf, title, size=26, bold=True)
    pdf.ln(1)
    draw_line(pdf, t("kit_paper.made", date=sheet.made, name=sheet.name), size=12)
    pdf.ln(4)
    top = pdf.get_y()
    draw_code(pdf, sheet.words.upper(), pdf.w - MARGIN_MM - CODE_MM, top, CODE_MM)
    column = pdf.epw - CODE_MM - 4
    for key in ("what", "keep", "apart"):
        draw_line(pdf, t(f"kit_paper.{key}"), size=12, width=column)
        pdf.ln(2.5)
    pdf.set_y(max(pdf.get_y(), top + CODE_MM) + 4)
    _draw_words(pdf, sheet)
    pdf.ln(5)
    draw_line(
        pdf, t("kit_paper.check", first=sheet.checked[0], second=sheet.checked[1], third=sheet.checked[2]), size=11
    )
    pdf.ln(2)
    draw_line(pdf, t("kit_paper.lost"), size=11)
    return bytes(pdf.output())


def _draw_words(pdf: FPDF, sheet: KitSheet) -> None:
    """Draw the words down the columns; the ones that a check asks for have a frame."""
    words = sheet.words.split()
    rows = -(-len(words) // COLUMNS)
    top, width = pdf.get_y(), pdf.epw / COLUMNS
    pdf.set_line_width(0.4)
    for place, word in enumerate(words):
        column, row = divmod(place, rows)
        x, y = pdf.l_margin + column * width, top + row * ROW_MM
        pdf.set_font("DejaVu", "", 10)
        pdf.set_xy(x, y)
        pdf.cell(9, ROW_MM, str(place + 1), align="R")
        pdf.set_font("Courier", "B", 15)  # every letter of its own shape, to be typed in
        pdf.set_xy(x + 10, y)
        pdf.cell(width - 13, ROW_MM - 0.8, word, border=1 if place + 1 in sheet.checked else 0)
    pdf.set_xy(pdf.l_margin, top + rows * ROW_MM)
