"""Numbers to shades of grey: a window of values becomes black to white. Pure.

Source: DICOM PS3.3 C.11.2.1.2 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Shades = NDArray[np.uint8]


def between_extremes(values: Values) -> Shades:
    """Map the least value to black and the greatest to white; a picture of one value is black."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return _shades((values - low) / max(high - low, 1e-12))


def in_window(values: Values, center: float, width: float, function: str) -> Shades:
    """Map a window of values, as a device or a radiologist chose it."""
    if function == "SIGMOID":
        return _shades(1 / (1 + np.exp(np.clip(-4 * (values - center) / max(width, 1e-6), -60, 60))))
    if function != "LINEAR_EXACT":  # LINEAR, also where nothing is said
        center, width = center - 0.5, width - 1
    return _shades((values - center) / max(width, 1e-6) + 0.5)


def _shades(parts: NDArray[np.floating]) -> Shades:
    shades: Shades = (np.clip(np.nan_to_num(parts), 0, 1) * 255 + 0.5).astype(np.uint8)
    return shades
