"""A fingerprint as words, so that two people can compare it by telephone: BIP-39, English, 24 words for 32 bytes.

256 bits and an 8-bit checksum (the first byte of their SHA-256) are cut into 24 pieces of 11 bits; each names one of
2048 words. Nothing is left out: who compares all words has compared the whole fingerprint, and a word heard wrong is
found by the checksum in 255 of 256 cases. The list was chosen over the PGP word list because its words are short,
ordinary ones that a German reader knows ("ocean", not "adroitness"), and the first four letters name the word; BIP-39
has no German list. Words say nothing secret: they are the fingerprint.

Source: Bitcoin Improvement Proposal 39; list and its licence (MIT, Trezor's python-mnemonic) in wordlist/.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

LIST = Path(__file__).parent / "wordlist/bip39-english.txt"
FINGERPRINT_BYTES = 32
WORDS = 24
BITS_PER_WORD = 11


def words_of(fingerprint: bytes) -> tuple[str, ...]:
    """Give the 24 words of a SHA-256; ValueError for another length."""
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise ValueError(len(fingerprint))
    number = int.from_bytes(fingerprint + hashlib.sha256(fingerprint).digest()[:1], "big")
    mask = (1 << BITS_PER_WORD) - 1
    return tuple(_list()[number >> BITS_PER_WORD * place & mask] for place in reversed(range(WORDS)))


@functools.cache
def _list() -> tuple[str, ...]:
    return tuple(LIST.read_text(encoding="ascii").split())
