"""What is on a printed sheet: its text by poppler, its QR code by an own reader.

The reader knows what a clean print needs and no more: level M, byte mode, versions 1 to 10, no error correction (a
wrong square is a wrong answer, which is what a test wants). Source: ISO/IEC 18004:2015, 7.3 to 7.9 and table 9.
"""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Callable, Iterator

from PIL import Image

RESOLUTION_DPI = 150
RUN = re.compile(rb"\x00+|\xff+")
FORMAT_MASK = 0x5412
LEVEL_M = 0
#: Data code words of each block at level M, by version.
BLOCKS = {
    1: [16],
    2: [28],
    3: [44],
    4: [32] * 2,
    5: [43] * 2,
    6: [27] * 4,
    7: [31] * 4,
    8: [38] * 2 + [39] * 2,
    9: [36] * 3 + [37] * 2,
    10: [43] * 4 + [44],
}
#: Centres of alignment patterns, by version.
CENTRES = {1: [], 7: [6, 22, 38], 8: [6, 24, 42], 9: [6, 26, 46], 10: [6, 28, 50]} | {
    version: [6, 4 * version + 10] for version in range(2, 7)
}
MASKS: list[Callable[[int, int], int]] = [
    lambda y, x: (y + x) % 2,
    lambda y, x: y % 2,
    lambda y, x: x % 3,
    lambda y, x: (y + x) % 3,
    lambda y, x: (y // 2 + x // 3) % 2,
    lambda y, x: y * x % 2 + y * x % 3,
    lambda y, x: (y * x % 2 + y * x % 3) % 2,
    lambda y, x: ((y + x) % 2 + y * x % 3) % 2,
]

Squares = list[list[bool]]


def words_of(pdf: bytes) -> str:
    """Give the text of a PDF without any blanks: a link is broken over lines."""
    command = ["pdftotext", "-layout", "-", "-"]
    return "".join(subprocess.run(command, input=pdf, capture_output=True, check=True).stdout.decode().split())


def picture_of(pdf: bytes) -> Image.Image:
    """Give the first page as it would be printed."""
    command = ["pdftoppm", "-r", str(RESOLUTION_DPI), "-gray", "-png", "-singlefile", "-"]
    printed = subprocess.run(command, input=pdf, capture_output=True, check=True).stdout
    return Image.open(io.BytesIO(printed)).convert("L")


def read_qr_code(picture: Image.Image) -> str:
    """Read the one QR code of an upright picture."""
    squares = _squares(picture)
    version = (len(squares) - 17) // 4
    bits = [squares[8][x] for x in (0, 1, 2, 3, 4, 5, 7, 8)] + [squares[y][8] for y in (7, 5, 4, 3, 2, 1, 0)]
    kind = int("".join(str(int(bit)) for bit in bits), 2) ^ FORMAT_MASK
    assert kind >> 13 == LEVEL_M
    mask = MASKS[kind >> 10 & 7]
    stream = [squares[y][x] ^ (mask(y, x) == 0) for y, x in _places(version)]
    words = [int("".join(str(int(bit)) for bit in stream[at : at + 8]), 2) for at in range(0, len(stream) - 7, 8)]
    data = "".join(f"{word:08b}" for word in _in_order(words, BLOCKS[version]))
    assert data[:4] == "0100", "byte mode"
    width = 8 if version < 10 else 16
    length = int(data[4 : 4 + width], 2)
    content = data[4 + width : 4 + width + 8 * length]
    return bytes(int(content[at : at + 8], 2) for at in range(0, len(content), 8)).decode()


def _in_order(words: list[int], blocks: list[int]) -> list[int]:
    """Undo the interleaving of blocks (7.6)."""
    found: list[list[int]] = [[] for _ in blocks]
    source = iter(words)
    for place in range(max(blocks)):
        for number, length in enumerate(blocks):
            if place < length:
                found[number].append(next(source))
    return [word for block in found for word in block]


def _places(version: int) -> Iterator[tuple[int, int]]:
    """Give the squares that hold data, in the order they are filled (7.7.3)."""
    size = 17 + 4 * version
    taken = {(6, at) for at in range(size)} | {(at, 6) for at in range(size)}
    for top, left, height, width in ((0, 0, 9, 9), (0, size - 8, 9, 8), (size - 8, 0, 8, 9)):
        taken |= {(y, x) for y in range(top, top + height) for x in range(left, left + width)}
    if version >= 7:
        taken |= {(y, x) for y in range(6) for x in range(size - 11, size - 8)}
        taken |= {(x, y) for y in range(6) for x in range(size - 11, size - 8)}
    last = size - 7
    for y in CENTRES[version]:
        for x in CENTRES[version]:
            if (y, x) not in {(6, 6), (6, last), (last, 6)}:
                taken |= {(y + down, x + right) for down in range(-2, 3) for right in range(-2, 3)}
    rising = True
    for right in [*range(size - 1, 6, -2), *range(5, 0, -2)]:
        for y in range(size - 1, -1, -1) if rising else range(size):
            for x in (right, right - 1):
                if (y, x) not in taken:
                    yield y, x
        rising = not rising


def _squares(picture: Image.Image) -> Squares:
    """Find the three finder patterns (dark 1:1:3:1:1 across and down) and sample the squares between them."""
    clear = picture.point(lambda shade: 255 if shade >= 128 else 0)
    width, height = clear.size
    across = clear.tobytes()
    down = clear.transpose(Image.Transpose.TRANSPOSE).tobytes()
    corners: list[tuple[float, float, float]] = []
    for y in range(height):
        for x, side in _finders(across[y * width : (y + 1) * width]):
            if any(abs(x - corner[0]) + abs(y - corner[1]) <= 7 * side for corner in corners):
                continue
            column = down[round(x) * height : (round(x) + 1) * height]
            corners += [(x, middle, side) for middle, _ in _finders(column) if abs(middle - y) < side / 2]
    assert len(corners) == 3, "one QR code"
    left, right = min(corner[0] for corner in corners), max(corner[0] for corner in corners)
    top = min(corner[1] for corner in corners)
    size = 17 + 4 * round(((right - left) / corners[0][2] + 7 - 17) / 4)
    step = (right - left) / (size - 7)
    return [
        [not across[round(top + (y - 3) * step) * width + round(left + (x - 3) * step)] for x in range(size)]
        for y in range(size)
    ]


def _finders(line: bytes) -> Iterator[tuple[float, float]]:
    """Give the centre of each dark-light-dark-light-dark run of 1:1:3:1:1, and the side of a square."""
    runs = [(found.start(), found.end()) for found in RUN.finditer(line)]
    for first in range(len(runs) - 4):
        five = runs[first : first + 5]
        start, end = five[0][0], five[4][1]
        side = (end - start) / 7
        slack = max(1.0, side / 4)
        if line[start] or side < 2:
            continue
        if all(abs(b - a - ratio * side) <= slack for (a, b), ratio in zip(five, (1, 1, 3, 1, 1), strict=True)):
            yield (start + end - 1) / 2, side
