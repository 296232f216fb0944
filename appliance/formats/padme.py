"""Padmé: round a length up so that it says little about what was padded.

The padded length keeps only as many significant bits as its exponent has binary digits, so it leaks
O(log log length) bits and costs at most 12 %, less the longer the input. Who pads chooses the bytes.

Source: Nikitin, Barman, Lueks, Underwood, Hubaux, Ford, "Reducing Metadata Leakage from Encrypted Files and
Communication with PURBs", PETS 2019, section 4, algorithm 1.
"""

from __future__ import annotations


def padme(length: int) -> int:
    """Return the padded length in bytes for `length` bytes; never less than `length`."""
    if length < 0:
        raise ValueError("a length is not negative")
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    kept_bits = exponent.bit_length()
    mask = (1 << (exponent - kept_bits)) - 1
    return (length + mask) & ~mask
