"""Padmé against its definition in floating logarithms and against what its paper promises."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.padme import padme

lengths = st.integers(0, 1 << 44) | st.integers(0, 44).flatmap(lambda bits: st.integers(0, 1 << bits))


@pytest.mark.parametrize(
    ("length", "padded"),
    [(0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (100, 104), (1000, 1024), (65537, 67584), (1_000_000, 1_015_808)],
)
def test_known_lengths(length: int, padded: int) -> None:
    assert padme(length) == padded


@given(st.integers(2, 1 << 40))
def test_padme_follows_the_paper(length: int) -> None:
    exponent = length.bit_length() - 1
    low_bits = exponent - (math.floor(math.log2(exponent)) + 1)
    assert padme(length) == -(-length // 2**low_bits) * 2**low_bits


@given(lengths)
def test_padding_costs_at_most_12_percent(length: int) -> None:
    assert length <= padme(length) <= length * 1.12


@given(lengths, lengths)
def test_padding_keeps_order_and_is_stable(one: int, other: int) -> None:
    assert (padme(one) <= padme(other)) or one > other
    assert padme(padme(one)) == padme(one)
