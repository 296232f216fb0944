"""Documents as a practice has them: a report of several pages, an invoice, a picture, plain text; nobody's."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

from fpdf import FPDF
from PIL import Image, ImageDraw


@dataclass(frozen=True)
class Sample:
    """A document to share; the content comes in pieces, so that it may be large. `box`: another that sealed it."""

    name: str
    title: str
    kind: str
    media_type: str
    pieces: Iterable[bytes]
    box: str = ""


def report_pdf(pages: int = 3) -> bytes:
    """A PDF that leaves its fonts out, as many do; the viewer has the standard ones."""
    pdf = FPDF(format="A4")
    for page in range(1, pages + 1):
        pdf.add_page()
        pdf.set_font("Helvetica", "B", 20)
        pdf.cell(0, 12, f"Befundbericht, Seite {page}", new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("Times", "", 12)
        for line in range(1, 30):
            pdf.cell(
                0, 8, f"Zeile {line}: Röntgen Thorax in zwei Ebenen, kein Nachweis.", new_x="LMARGIN", new_y="NEXT"
            )
        pdf.set_font("ZapfDingbats", "", 16)
        pdf.cell(0, 10, "4 4 4")
    return bytes(pdf.output())


def picture(kind: str, width: int = 1600, height: int = 1200) -> bytes:
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    ImageDraw.Draw(image).ellipse((300, 200, 1300, 1000), outline=(250, 240, 200), width=30)
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


TEXT = "Laborwerte vom 3. März\n\nHämoglobin   14,1 g/dl\nLeukozyten    6,2 /nl\nThrombozyten  250 /nl\n".encode()


def sample_documents() -> list[Sample]:
    return [
        Sample("befund.pdf", "Befund Röntgen", "finding", "application/pdf", [report_pdf()]),
        Sample("labor.txt", "Laborwerte", "lab", "text/plain", [TEXT]),
        Sample("röntgen.jpg", "Röntgenbild Thorax", "image", "image/jpeg", [picture("JPEG")]),
        Sample("rechnung.pdf", "Rechnung 2026-0417", "invoice", "application/pdf", [report_pdf(1)]),
    ]
