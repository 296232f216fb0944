"""The picture that leaves: an upright JPEG within the contract's caps, with nothing in it but its pixels.

Sizes are judged before anything is decoded, so that a few bytes cannot ask for gigabytes.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from appliance.contracts.preview import MAX_PICTURE_BYTES
from appliance.core.errors import Invalid

MAX_SIDE_PIXELS = 1600
#: Larger pictures are made roughly smaller first, so that the arithmetic works on little.
MAX_WORKED_ON = 2 * MAX_SIDE_PIXELS
#: The largest photos of phones, 8160 x 6144. Decoding one takes about 600 MB (docs/decisions/previews.md).
MAX_DECODED_PIXELS = 52_000_000
QUALITIES = (85, 70, 50, 30)


def check_size(width: int, height: int) -> None:
    """Refuse what would be too much to decode; Invalid("picture_size"), Invalid("content_damaged") for nothing."""
    if width < 1 or height < 1:
        raise Invalid("content_damaged")
    if width * height > MAX_DECODED_PIXELS:
        raise Invalid("picture_size", max_pixels=MAX_DECODED_PIXELS)


def write_jpeg(picture: Image.Image) -> bytes:
    """Give a decoded, upright picture as a JPEG; it is made smaller, never larger."""
    small = picture.copy() if picture.mode in {"RGB", "L"} else picture.convert("RGB")
    small.thumbnail((MAX_SIDE_PIXELS, MAX_SIDE_PIXELS), Image.Resampling.LANCZOS)
    bare = Image.new(small.mode, small.size)  # no metadata of the original goes along
    bare.paste(small)
    for quality in QUALITIES:
        written = BytesIO()
        bare.save(written, "JPEG", quality=quality)
        if written.tell() <= MAX_PICTURE_BYTES:
            return written.getvalue()
    raise Invalid("picture_size")
