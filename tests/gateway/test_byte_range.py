from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import Invalid
from appliance.gateway.byte_range import parse_range


@given(length=st.integers(1, 2**40), start=st.integers(0, 2**40), size=st.integers(1, 2**30))
def test_a_range_never_leaves_the_file(length: int, start: int, size: int) -> None:
    try:
        first, end = parse_range(f"bytes={start}-{start + size - 1}", length)
    except Invalid:
        assert start >= length
    else:
        assert (first, end) == (start, min(start + size, length))


@pytest.mark.parametrize(
    "text",
    ["", "bytes=", "bytes=-5", "bytes=5-4", "bytes=0-1,3-4", "bits=0-1", "bytes=100-", "bytes=+1-2", "bytes= 1-2",
     "bytes=1-2\n", "bytes=١-٢", "bytes=" + "9" * 400 + "-"],
)  # fmt: skip
def test_any_other_range_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_range(text, 100)
