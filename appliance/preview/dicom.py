"""The first frame of a DICOM file as staff see it on a viewer: rescaled, windowed, the right way round of grey.

pydicom reads the file; pixels are decoded by numpy, Pillow or GDCM (JPEG lossless, JPEG-LS, JPEG 2000, 12 bit). It
is a look at the picture and no diagnostic display: one window, one frame, 8 bits.
Source: DICOM PS3.3 C.7.6.3, C.11.1, C.11.2; PS3.4 N.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from appliance.core.errors import Invalid
from appliance.preview.greys import Shades, Values, between_extremes, in_window
from appliance.preview.jpeg import MAX_WORKED_ON, check_size, write_jpeg

#: Where the numbers of a picture stand.
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def picture_of(content: bytes | bytearray) -> bytes:
    """Give the JPEG; Invalid("picture_missing") if the file holds none."""
    file = pydicom.dcmread(BytesIO(content))
    if "Rows" not in file or not any(word in file for word in PIXELS):
        raise Invalid("picture_missing")
    check_size(int(file.Columns), int(file.Rows))
    check_size(int(file.Columns) * int(file.get("SamplesPerPixel", 1)), int(file.Rows))
    frame = pixel_array(file, index=0)
    step = max(1, -(-max(frame.shape[:2]) // MAX_WORKED_ON))
    frame = frame[::step, ::step]
    photometric = str(file.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        return write_jpeg(Image.fromarray(_to_8_bits(apply_color_lut(frame, file))))
    if frame.ndim == 3:
        return write_jpeg(Image.fromarray(_to_8_bits(frame, int(file.BitsStored))))
    shades = _grey(np.asarray(apply_modality_lut(frame, file)), file)
    return write_jpeg(Image.fromarray(np.asarray(255 - shades) if photometric == "MONOCHROME1" else shades))


def _grey(values: np.ndarray, file: Dataset) -> Shades:
    if file.get("VOILUTSequence"):
        return between_extremes(apply_voi(values, file).astype(np.float32))
    numbers: Values = values.astype(np.float32)
    center, width = _first(file.get("WindowCenter")), _first(file.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        return between_extremes(numbers)
    return in_window(numbers, center, width, str(file.get("VOILUTFunction", "LINEAR")))


def _first(value: object) -> float | None:
    """A file may name several windows; the first is the one to begin with (C.11.2.1.2)."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if value else None
    return None if value is None else float(str(value))


def _to_8_bits(colours: np.ndarray, bits: int = 0) -> Shades:
    bits = bits or 8 * colours.dtype.itemsize
    return np.ascontiguousarray(colours >> (bits - 8) if bits > 8 else colours).astype(np.uint8)
