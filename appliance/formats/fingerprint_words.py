"""A fingerprint as words and as digits, so that two people can compare it: BIP-39, English, 11 bits a word. Pure.

All 24 words are the 256 bits of a SHA-256 and an 8-bit checksum (the first byte of their SHA-256); nothing is left
out, and a word heard wrong is found by the checksum in 255 of 256 cases. Of the page's key papers show the beginning:
8 words or 22 hexadecimal digits, the same 88 bits. Who wants another key with that beginning must try 2^88 keys on
average; two keys of his own with one beginning (2^44) are of no use to him, since the box makes its key itself.

The list was chosen over the PGP word list because its words are short, ordinary ones that a German reader knows
("ocean", not "adroitness"), and the first four letters name the word; BIP-39 has no German list. It is not the list
of the recovery kit (SLIP-39), whose words are secret: nobody shall get used to reading those out.

Source: Bitcoin Improvement Proposal 39; list and its licence (MIT, Trezor's python-mnemonic) in wordlist/.
"""

from __future__ import annotations

import hashlib

from appliance.core.errors import Invalid
from appliance.formats.wordlist.english import WORDS as WORD_LIST

FINGERPRINT_BYTES = 32
WORDS = 24
BITS_PER_WORD = 11
SHORT_WORDS = 8
SHORT_DIGITS = SHORT_WORDS * BITS_PER_WORD // 4


def words_of(fingerprint: bytes) -> tuple[str, ...]:
    """Give the 24 words of a SHA-256; Invalid("fingerprint") for another length."""
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise Invalid("fingerprint")
    number = int.from_bytes(fingerprint + hashlib.sha256(fingerprint).digest()[:1], "big")
    mask = (1 << BITS_PER_WORD) - 1
    return tuple(WORD_LIST[number >> BITS_PER_WORD * place & mask] for place in reversed(range(WORDS)))


def short_words(fingerprint: bytes) -> str:
    """Give the first 8 words."""
    return " ".join(words_of(fingerprint)[:SHORT_WORDS])


def short_digits(fingerprint: bytes) -> str:
    """Give the first 22 hexadecimal digits, in fours: a browser shows the fingerprint of a key like this."""
    digits = fingerprint.hex()[:SHORT_DIGITS]
    return " ".join(digits[start : start + 4] for start in range(0, SHORT_DIGITS, 4))
