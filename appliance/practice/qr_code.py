"""The link as a QR code (ISO/IEC 18004): which squares are dark, for a page's picture and for the printed sheet.

segno is loaded with the first code. Error correction M: 15 % of a creased sheet may be unreadable.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Squares:
    """`size` squares each way, without the quiet zone; `runs` are (x, y, width) of dark squares in a row."""

    size: int
    runs: tuple[tuple[int, int, int], ...]


#: ISO/IEC 18004 7.3.1: four squares of white around the code.
QUIET_ZONE = 4


def qr_squares(text: str) -> Squares:
    """Give the code of a text."""
    import segno  # loaded with the first sheet

    matrix = segno.make_qr(text, error="m", boost_error=False).matrix
    runs: list[tuple[int, int, int]] = []
    for y, row in enumerate(matrix):
        start: int | None = None
        for x, dark in enumerate((*row, 0)):
            if dark and start is None:
                start = x
            elif not dark and start is not None:
                runs.append((start, y, x - start))
                start = None
    return Squares(len(matrix), tuple(runs))
