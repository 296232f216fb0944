"""A HEIC photo or a TIFF scan, turned the way it was meant to be seen.

HEIC: libheif turns the picture as the file's own properties say (`irot`, `imir`); the EXIF orientation that phones
write besides is for readers that do not, and is not applied again (ISO/IEC 23008-12 6.5.10, A.2.1). TIFF: Pillow
turns it by the tag Orientation as it loads. The first picture of a file that holds several.
"""

from __future__ import annotations

from io import BytesIO
from typing import Literal

import numpy as np
import pillow_heif
from PIL import Image

from appliance.core.errors import Invalid
from appliance.preview.greys import between_extremes
from appliance.preview.jpeg import MAX_DECODED_PIXELS, MAX_WORKED_ON, check_size, write_jpeg

Image.MAX_IMAGE_PIXELS = MAX_DECODED_PIXELS


def picture_of(content: bytes | bytearray, kind: Literal["HEIF", "TIFF"]) -> bytes:
    """Give the JPEG; content of another kind is not looked at."""
    if kind == "HEIF":
        pillow_heif.register_heif_opener(thumbnails=False)
    try:
        with Image.open(BytesIO(content), formats=[kind]) as picture:
            check_size(*picture.size)
            picture.load()
            picture.thumbnail((MAX_WORKED_ON, MAX_WORKED_ON), Image.Resampling.BOX)  # before anything is copied
            upright = picture.copy()
    except Image.DecompressionBombError as error:
        raise Invalid("picture_size") from error
    if upright.mode.startswith(("I", "F")):  # 16 and 32 bits of grey
        upright = Image.fromarray(between_extremes(np.asarray(upright).astype(np.float32)))
    if upright.has_transparency_data:  # a JPEG has none: on white, as on paper
        layered = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
    return write_jpeg(upright)
