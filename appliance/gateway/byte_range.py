"""The one kind of Range that a resumed transfer needs: `bytes=a-b` or `bytes=a-` (RFC 9110, section 14.1.2).

Pure. Several ranges, suffix ranges and other units are not served.
"""

from __future__ import annotations

import re

from appliance.core.errors import Invalid

_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})\Z", re.ASCII)


def parse_range(text: str, length: int) -> tuple[int, int]:
    """Give [start, end) within a file of `length` bytes; Invalid("range") for anything else."""
    match = _RANGE.match(text)
    if match is None:
        raise Invalid("range")
    start = int(match[1])
    end = int(match[2]) + 1 if match[2] else length
    if start >= min(end, length):
        raise Invalid("range")
    return start, min(end, length)
