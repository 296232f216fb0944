"""The handover sheet on paper: A4, one page a language, black on white, in the look of the practice's papers.

What the practice needs in order: the claim code, where to type it, how to check that the box is theirs. The QR code
holds the practice's address and nothing else: a photo of it gives no code away. Nothing is told by colour, and the
finest line is 0.3 mm, so any printer and any copier will do. fpdf2 is loaded with the first paper.
Font: DejaVu Sans (fonts/).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.formats.fingerprint_words import words_of
from provisioning.station.sheet import Sheet
from provisioning.station.texts import Texts, texts_in

if TYPE_CHECKING:
    from fpdf import FPDF

FONTS = Path(__file__).parent / "fonts"
MARGIN_MM = 20.0
QR_MM = 46.0
#: ISO/IEC 18004 7.3.1: four squares of white around the code.
QUIET_ZONE = 4
#: Rows of the code reach into the next one: else a reader of PDF may show light seams, which break the code.
OVERLAP_MM = 0.05
WORD_COLUMNS = 4
WORD_LINE_MM = 6.4


def draw_handover(sheet: Sheet, languages: tuple[str, ...]) -> bytes:
    """Draw the sheet, one page a language."""
    from fpdf import FPDF  # loaded with the first paper

    pdf = FPDF(format="A4")
    pdf.set_producer("Praxissafe")
    pdf.set_title(texts_in(languages[0])("paper.title"))
    pdf.set_lang(languages[0])
    pdf.set_margin(MARGIN_MM)
    pdf.set_auto_page_break(False)
    pdf.add_font("DejaVu", "", FONTS / "DejaVuSans.ttf")
    pdf.add_font("DejaVu", "B", FONTS / "DejaVuSans-Bold.ttf")
    for language in languages:
        _draw_page(pdf, sheet, texts_in(language))
    return bytes(pdf.output())


def _draw_page(pdf: FPDF, sheet: Sheet, t: Texts) -> None:
    pdf.add_page()
    _line(pdf, f"Praxissafe · {t('paper.serial')} {sheet.serial}", size=12)
    pdf.ln(2)
    _line(pdf, t("paper.title"), size=24, bold=True)
    pdf.ln(1)
    _line(pdf, t("paper.purpose"), size=12)
    pdf.ln(4)
    _line(pdf, t("paper.claim_code"), size=13, bold=True)
    _framed(pdf, sheet.claim_code)
    _line(pdf, t("paper.claim_code_more"), size=11)
    pdf.ln(5)
    top = pdf.get_y()
    _draw_code(pdf, sheet.practice_url, pdf.w - MARGIN_MM - QR_MM, top)
    column = pdf.epw - QR_MM - 4
    for number, step in enumerate(("connect", "open", "type"), start=1):
        _draw_step(pdf, number, t(f"paper.step_{step}"), t(f"paper.step_{step}_more"), column)
    pdf.set_y(max(pdf.get_y(), top + QR_MM) + 1)
    _line(pdf, t("paper.address"), size=13, bold=True)
    _monospaced(pdf, sheet.practice_url)
    pdf.ln(4)
    _line(pdf, t("paper.words"), size=13, bold=True)
    _line(pdf, t("paper.words_more"), size=11)
    pdf.ln(2)
    _draw_words(pdf, words_of(bytes.fromhex(sheet.device_fingerprint.replace(" ", ""))))
    pdf.ln(4)
    for label, value in (
        ("paper.fingerprint", f"{sheet.device_fingerprint[:39]}\n{sheet.device_fingerprint[40:]}"),
        ("paper.box", sheet.box),
        ("paper.patients", sheet.patient_host),
        ("paper.tpm", f"{sheet.tpm}: {t('paper.tpm_proven')}" if sheet.tpm else t("paper.tpm_unproven")),
    ):
        _draw_row(pdf, t(label), value)
    pdf.ln(1)
    _draw_signatures(pdf, t)


def _line(pdf: FPDF, text: str, *, size: float, bold: bool = False, width: float = 0) -> None:
    pdf.set_font("DejaVu", "B" if bold else "", size)
    pdf.multi_cell(width or pdf.epw, size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align="L")


def _framed(pdf: FPDF, code: str) -> None:
    """Draw the claim code large, every letter of its own shape, in a frame."""
    pdf.ln(1)
    pdf.set_line_width(0.6)
    pdf.set_font("Courier", "B", 28)
    pdf.cell(pdf.epw, 16, code, border=1, align="C", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(2)


def _monospaced(pdf: FPDF, text: str) -> None:
    from fpdf.enums import WrapMode

    pdf.set_font("Courier", "B", 14)
    pdf.multi_cell(pdf.epw, 7, text, wrapmode=WrapMode.CHAR, new_x="LMARGIN", new_y="NEXT", align="L")


def _draw_step(pdf: FPDF, number: int, step: str, more: str, column: float) -> None:
    left, top, circle = pdf.l_margin, pdf.get_y(), 9.0
    pdf.set_fill_color(20, 32, 43)
    pdf.ellipse(left, top, circle, circle, style="F")
    pdf.set_text_color(255, 255, 255)
    pdf.set_font("DejaVu", "B", 13)
    pdf.set_xy(left, top)
    pdf.cell(circle, circle, str(number), align="C")
    pdf.set_text_color(0, 0, 0)
    pdf.set_left_margin(left + circle + 4)
    pdf.set_xy(left + circle + 4, top)
    _line(pdf, step, size=13, bold=True, width=column - circle - 4)
    _line(pdf, more, size=11, width=column - circle - 4)
    pdf.set_left_margin(left)
    pdf.set_y(max(pdf.get_y(), top + circle) + 3)


def _draw_words(pdf: FPDF, words: tuple[str, ...]) -> None:
    """Draw the words with their numbers, row by row: they are read aloud in this order."""
    width = pdf.epw / WORD_COLUMNS
    for place, word in enumerate(words):
        last = place % WORD_COLUMNS == WORD_COLUMNS - 1
        pdf.set_font("DejaVu", "", 9)
        pdf.cell(8, WORD_LINE_MM, str(place + 1), align="R")
        pdf.set_font("DejaVu", "B", 12)
        pdf.cell(width - 8, WORD_LINE_MM, word)
        if last:
            pdf.ln(WORD_LINE_MM)


def _draw_row(pdf: FPDF, label: str, value: str) -> None:
    pdf.set_font("DejaVu", "", 9)
    pdf.cell(50, 4.5, label)
    pdf.set_font("Courier", "", 9)
    pdf.multi_cell(pdf.epw - 50, 4.5, value, new_x="LMARGIN", new_y="NEXT", align="L")


def _draw_signatures(pdf: FPDF, t: Texts) -> None:
    """Two lines to sign on, at the foot of the page."""
    width, y = (pdf.epw - 10) / 2, pdf.h - MARGIN_MM - 5
    pdf.set_line_width(0.3)
    for place, label in enumerate(("paper.given", "paper.received")):
        x = pdf.l_margin + place * (width + 10)
        pdf.line(x, y, x + width, y)
        pdf.set_xy(x, y + 1)
        pdf.set_font("DejaVu", "", 9)
        pdf.cell(width, 4.5, t(label))


def _draw_code(pdf: FPDF, text: str, x: float, y: float) -> None:
    import segno  # loaded with the first paper

    matrix = segno.make_qr(text, error="m", boost_error=False).matrix
    side = QR_MM / (len(matrix) + 2 * QUIET_ZONE)
    pdf.set_fill_color(0, 0, 0)
    for row, squares in enumerate(matrix):
        column = 0
        for dark, run in itertools.groupby(squares):
            width = len(list(run))
            if dark:
                left, top = x + (column + QUIET_ZONE) * side, y + (row + QUIET_ZONE) * side
                pdf.rect(left, top, width * side, side + OVERLAP_MM, style="F")
            column += width
