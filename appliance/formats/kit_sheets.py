"""The sheets of a recovery kit: a 32-byte seed in three lists of 33 words, any two of which give it back. Pure.

SLIP-39 with one group, 2 of 3, no passphrase (github.com/satoshilabs/slips, slip-0039; the library is the
standard's reference implementation and the only thing here that computes shares). The first two words are the same
on all sheets of one kit; a word is known by its first four letters; the last three words are a checksum that finds
every error of up to three words.

A failure says which sheet and which word, so that somebody can look at the paper. What the word should have been is
never said: whoever reads the answer does not learn a word that was not typed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics
from shamir_mnemonic.constants import CUSTOMIZATION_STRING_EXTENDABLE
from shamir_mnemonic.rs1024 import create_checksum
from shamir_mnemonic.wordlist import WORD_INDEX_MAP, WORDLIST

from appliance.core.errors import Invalid

SEED_BYTES = 32
SHEETS = 3
NEEDED = 2
WORDS = 33
CHECKSUM_WORDS = 3
WORD_BITS = 10
KNOWN_LETTERS = 4
PASSPHRASE = b""
#: The words that are ever asked back, counted from 1: always these, so that checking gives away no others. They lie
#: within the share's value (words 5 to 30).
CHECKED_WORDS = (7, 16, 25)

_BY_FIRST_LETTERS = {word[:KNOWN_LETTERS]: word for word in WORDLIST}
_SEPARATORS = re.compile(r"[^a-z]+")


def split_seed(seed: bytes) -> list[str]:
    """Give the words of the three sheets, in order."""
    (sheets,) = generate_mnemonics(1, [(NEEDED, SHEETS)], seed, passphrase=PASSPHRASE, iteration_exponent=0)
    return list(sheets)


def kit_name(words: str) -> str:
    """Give the first two words of a sheet: what all sheets of one kit have in common, and no other kit of the box."""
    return " ".join(words.split()[:2])


def checked_words(words: str) -> list[str]:
    """Give the words of a sheet that are ever asked back."""
    listed = words.split()
    return [listed[place - 1] for place in CHECKED_WORDS]


def known_word(typed: str) -> str | None:
    """Give the word that was typed whole or by its first four letters, in whatever case; None for any other."""
    word = _SEPARATORS.sub("", typed.lower())
    return word if word in WORD_INDEX_MAP else _BY_FIRST_LETTERS.get(word)


def typed_words(typed: str) -> list[str]:
    """Give the words of a text, whatever stands between them; nothing has to where each is typed by four letters.

    No word of the list is longer than eight letters. A run that is itself a word ("advocate") is that word, and not
    the first letters of two.
    """
    words = []
    for run in _SEPARATORS.split(typed.lower()):
        parts = [run[place : place + KNOWN_LETTERS] for place in range(0, len(run), KNOWN_LETTERS)]
        is_cut = run not in WORD_INDEX_MAP and all(part in _BY_FIRST_LETTERS for part in parts)
        words += parts if is_cut else [run]
    return [word for word in words if word]


def read_sheet(typed: str, sheet: int) -> Share:
    """Read the words of a sheet as typed or scanned; `sheet` (1 or 2) is which of the two, for the failure.

    Invalid: "kit_word_count" (count), "kit_word_unknown" (word), "kit_word_wrong" (word: the one that alone explains
    the checksum), "kit_words_wrong" (several are wrong), "kit_sheet_foreign" (words, but not of a recovery kit).
    """
    words = typed_words(typed)
    if len(words) != WORDS:
        raise Invalid("kit_word_count", sheet=sheet, count=len(words))
    known = [known_word(word) for word in words]
    if None in known:
        raise Invalid("kit_word_unknown", sheet=sheet, word=known.index(None) + 1)
    indices = [WORD_INDEX_MAP[word] for word in known if word]
    try:
        share = Share.from_mnemonic(" ".join(WORDLIST[index] for index in indices))
    except MnemonicError as error:
        wrong = wrong_word(indices)
        if wrong:
            raise Invalid("kit_word_wrong", sheet=sheet, word=wrong) from error
        raise Invalid("kit_words_wrong", sheet=sheet) from error
    if (share.group_count, share.group_threshold, share.member_threshold) != (1, 1, NEEDED):
        raise Invalid("kit_sheet_foreign", sheet=sheet)
    return share


def combine_sheets(first: str, second: str) -> tuple[bytes, str]:
    """Give the seed and the kit's name from the words of any two sheets.

    Invalid: what `read_sheet` raises, "kit_same_sheet" (twice the same), "kit_sheets_differ" (of two kits),
    "kit_sheets_wrong" (each is whole, together they give no seed: one was made up).
    """
    one, two = read_sheet(first, 1), read_sheet(second, 2)
    if one.common_parameters() != two.common_parameters():
        raise Invalid("kit_sheets_differ")
    if one.index == two.index:
        raise Invalid("kit_same_sheet")
    try:
        seed = combine_mnemonics([one.mnemonic(), two.mnemonic()], PASSPHRASE)
    except MnemonicError as error:
        raise Invalid("kit_sheets_wrong") from error
    return seed, kit_name(one.mnemonic())


def wrong_word(indices: Sequence[int]) -> int:
    """Give which word, counted from 1, would alone explain why the checksum does not fit; 0 if no single one does.

    The checksum is linear and its distance is 4 words (SLIP-39, "Checksum"), so there is never more than one such.
    """
    data, checksum = list(indices[:-CHECKSUM_WORDS]), list(indices[-CHECKSUM_WORDS:])
    fitting = _number(create_checksum(data, CUSTOMIZATION_STRING_EXTENDABLE))
    difference = fitting ^ _number(checksum)
    for place in range(len(indices)):
        if difference in _Sums(list(_effects(data, fitting, place))):
            return place + 1
    return 0


class _Sums:
    """The sums (XOR) of some numbers, as a set that is never listed: by elimination over GF(2)."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._by_top_bit: dict[int, int] = {}
        for number in numbers:
            rest = self._without(number)
            if rest:
                self._by_top_bit[rest.bit_length()] = rest

    def __contains__(self, number: int) -> bool:
        return self._without(number) == 0

    def _without(self, number: int) -> int:
        for top in sorted(self._by_top_bit, reverse=True):
            if number.bit_length() == top:
                number ^= self._by_top_bit[top]
        return number


def _effects(data: list[int], fitting: int, place: int) -> Iterator[int]:
    """Give what each bit of the word at `place` does to the checksum."""
    for bit in range(WORD_BITS):
        if place >= len(data):
            yield 1 << bit + WORD_BITS * (len(data) + CHECKSUM_WORDS - 1 - place)
        else:
            changed = [*data[:place], data[place] ^ 1 << bit, *data[place + 1 :]]
            yield _number(create_checksum(changed, CUSTOMIZATION_STRING_EXTENDABLE)) ^ fitting


def _number(words: Sequence[int]) -> int:
    number = 0
    for word in words:
        number = number << WORD_BITS | word
    return number
