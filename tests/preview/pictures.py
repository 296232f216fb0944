"""Pictures to look at: a scene with a colour in each corner, stored turned as a phone stores it; pydicom's own files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pillow_heif
import pydicom
from PIL import Image

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
RED, BLUE, GREEN, WHITE = (200, 20, 20), (20, 20, 200), (20, 160, 20), (240, 240, 240)
SIZE = (320, 240)
#: EXIF orientation (TIFF 6.0, tag 274) -> what a camera that is held so does to the scene.
STORED_AS = {
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def scene() -> Image.Image:
    """Red top left, blue top right, green bottom left, white bottom right; broader than high."""
    width, height = SIZE
    picture = Image.new("RGB", SIZE, WHITE)
    for colour, left, top in ((RED, 0, 0), (BLUE, width // 2, 0), (GREEN, 0, height // 2)):
        picture.paste(colour, (left, top, left + width // 2, top + height // 2))
    return picture


def stored(orientation: int) -> Image.Image:
    turned = STORED_AS[orientation]
    return scene() if turned is None else scene().transpose(turned)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def heic(orientation: int = 1) -> bytes:
    pillow_heif.register_heif_opener()
    written = BytesIO()
    stored(orientation).save(written, "HEIF", quality=90, exif=_exif(orientation).tobytes())
    return written.getvalue()


def jpeg(orientation: int = 1) -> bytes:
    written = BytesIO()
    stored(orientation).save(written, "JPEG", quality=90, exif=_exif(orientation).tobytes())
    return written.getvalue()


def tiff(orientation: int = 1) -> bytes:
    written = BytesIO()
    stored(orientation).save(written, "TIFF", tiffinfo={274: orientation}, compression="tiff_lzw")
    return written.getvalue()


def corners(picture: Image.Image) -> list[tuple[int, int, int]]:
    """Give the colours near the corners: top left, top right, bottom left, bottom right."""
    width, height = picture.size
    places = [(8, 8), (width - 8, 8), (8, height - 8), (width - 8, height - 8)]
    return [picture.convert("RGB").getpixel(place) for place in places]  # type: ignore[misc]


def is_upright(picture: Image.Image) -> bool:
    near = [
        all(abs(seen - meant) < 40 for seen, meant in zip(corner, colour, strict=True))
        for corner, colour in zip(corners(picture), (RED, BLUE, GREEN, WHITE), strict=True)
    ]
    return all(near) and picture.width > picture.height


def dicom(name: str) -> bytes:
    return (PYDICOM_FILES / name).read_bytes()


def opened(content: bytes) -> Image.Image:
    return Image.open(BytesIO(content))
