"""The two papers a patient gets: the link sheet (A4) and the PIN slip (A6), each its own PDF.

Neither names the patient: a sheet left on the desk or in the wrong letter says nothing about anyone. The link sheet
never holds the PIN, the slip never the link. fpdf2 is loaded with the first paper; drawing blocks, so callers use a
thread. Fonts: DejaVu Sans (fonts/), for names outside Western Europe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.practice.qr_code import QUIET_ZONE, qr_squares
from appliance.practice.texts import Texts

if TYPE_CHECKING:
    from fpdf import FPDF

FONTS = Path(__file__).parent / "fonts"
MARGIN_MM = 20
A6_MM = (105, 148)
QR_MM = 70


@dataclass(frozen=True)
class LinkSheet:
    """What stands on a link sheet."""

    practice_name: str
    telephone: str
    link: str = field(repr=False)
    host: str
    expires: str
    #: The beginning of the page key's fingerprint (formats/fingerprint_words.py); "" leaves the line out.
    key_words: str = ""
    key_digits: str = ""


@dataclass(frozen=True)
class PinSlip:
    """What stands on a PIN slip."""

    practice_name: str
    telephone: str
    pin: str = field(repr=False)


def draw_link_sheet(sheet: LinkSheet, t: Texts) -> bytes:
    """Draw the link sheet in one language."""
    pdf = new_page("A4", MARGIN_MM, t("sheet.title"), t.language)
    width = pdf.epw
    draw_line(pdf, sheet.practice_name, size=15, bold=True)
    draw_line(pdf, t("sheet.call", telephone=sheet.telephone), size=12)
    pdf.ln(7)
    draw_line(pdf, t("sheet.title"), size=28, bold=True)
    pdf.ln(1)
    draw_line(pdf, t("sheet.until", expires=sheet.expires), size=15)
    pdf.ln(5)
    top = pdf.get_y()
    draw_code(pdf, sheet.link, pdf.w - MARGIN_MM - QR_MM, top)
    column = width - QR_MM - 4
    for number, step in enumerate(("scan", "pin", "read"), start=1):
        _draw_step(pdf, number, t(f"sheet.step_{step}"), t(f"sheet.step_{step}_more"), column)
    pdf.set_y(max(pdf.get_y(), top + QR_MM) + 4)
    draw_line(pdf, t("sheet.by_hand"), size=13, bold=True)
    pdf.ln(1)
    _draw_link(pdf, sheet.link, width)
    pdf.ln(5)
    draw_line(pdf, t("sheet.check", host=sheet.host), size=12.5)
    pdf.ln(2)
    draw_line(pdf, t("sheet.apart"), size=12.5)
    pdf.ln(2)
    draw_line(pdf, t("sheet.private"), size=12.5)
    pdf.ln(2)
    draw_line(pdf, t("sheet.help", telephone=sheet.telephone), size=12.5)
    if sheet.key_words:
        pdf.ln(2)
        draw_line(pdf, t("sheet.key", words=sheet.key_words, digits=sheet.key_digits.replace(" ", "\u00a0")), size=8)
    return bytes(pdf.output())


def draw_pin_slip(slip: PinSlip, t: Texts) -> bytes:
    """Draw the PIN slip in one language."""
    pdf = new_page(A6_MM, 10, t("slip.title"), t.language)
    draw_line(pdf, slip.practice_name, size=11, bold=True)
    pdf.ln(8)
    draw_line(pdf, t("slip.title"), size=20, bold=True)
    pdf.ln(4)
    pdf.set_font("DejaVu", "B", 34)
    half = len(slip.pin) // 2
    pdf.set_draw_color(20, 32, 43)
    pdf.set_line_width(0.6)
    pdf.cell(pdf.epw, 24, f"{slip.pin[:half]} {slip.pin[half:]}", border=1, align="C")
    pdf.ln(31)
    draw_line(pdf, t("slip.use"), size=11)
    pdf.ln(3)
    draw_line(pdf, t("slip.apart"), size=11, bold=True)
    pdf.ln(3)
    draw_line(pdf, t("slip.tries", telephone=slip.telephone), size=10)
    return bytes(pdf.output())


def new_page(size: str | tuple[int, int], margin_mm: int, title: str, language: str) -> FPDF:
    """Begin a paper of one page."""
    from fpdf import FPDF  # loaded with the first paper

    pdf = FPDF(format=size)
    pdf.set_title(title)
    pdf.set_lang(language)
    pdf.set_producer("Praxissafe")
    pdf.set_margin(margin_mm)
    pdf.set_auto_page_break(False)
    pdf.add_font("DejaVu", "", FONTS / "DejaVuSans.ttf")
    pdf.add_font("DejaVu", "B", FONTS / "DejaVuSans-Bold.ttf")
    pdf.add_page()
    return pdf


def draw_line(pdf: FPDF, text: str, *, size: float, bold: bool = False, width: float = 0) -> None:
    """Write a text from the left margin on; goes on below it."""
    pdf.set_font("DejaVu", "B" if bold else "", size)
    pdf.multi_cell(width or pdf.epw, size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align="L")


def _draw_step(pdf: FPDF, number: int, step: str, more: str, column: float) -> None:
    left, top, circle = pdf.l_margin, pdf.get_y(), 11.0
    pdf.set_fill_color(20, 32, 43)
    pdf.ellipse(left, top, circle, circle, style="F")
    pdf.set_text_color(255, 255, 255)
    pdf.set_font("DejaVu", "B", 16)
    pdf.set_xy(left, top)
    pdf.cell(circle, circle, str(number), align="C")
    pdf.set_text_color(0, 0, 0)
    pdf.set_left_margin(left + circle + 4)
    pdf.set_xy(left + circle + 4, top + 1)
    draw_line(pdf, step, size=16, bold=True, width=column - circle - 4)
    draw_line(pdf, more, size=12.5, width=column - circle - 4)
    pdf.set_left_margin(left)
    pdf.set_y(max(pdf.get_y(), top + circle) + 6)


def draw_code(pdf: FPDF, text: str, x: float, y: float, size_mm: float = QR_MM) -> None:
    """Draw a text as a QR code."""
    squares = qr_squares(text)
    side = size_mm / (squares.size + 2 * QUIET_ZONE)
    pdf.set_fill_color(0, 0, 0)
    for left, top, width in squares.runs:
        pdf.rect(x + (left + QUIET_ZONE) * side, y + (top + QUIET_ZONE) * side, width * side, side, style="F")


def _draw_link(pdf: FPDF, link: str, width: float) -> None:
    """Draw the link large: the host on one line, the secret on the next; it never breaks by a hyphen."""
    from fpdf.enums import WrapMode

    pdf.set_font("Courier", "B", 14)  # every letter of its own shape: 0 and O, l and I, to be typed in
    host, hash_sign, secret = link.partition("#")
    for line in (host, hash_sign + secret):
        pdf.multi_cell(width, 8, line, wrapmode=WrapMode.CHAR, new_x="LMARGIN", new_y="NEXT", align="L")
