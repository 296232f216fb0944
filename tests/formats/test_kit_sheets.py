"""The sheets of a recovery kit: SLIP-39's own vectors, and what somebody is told who types a sheet badly."""

import json
import random
import secrets
from pathlib import Path

import pytest
from shamir_mnemonic.wordlist import WORDLIST

from appliance.core.errors import Invalid
from appliance.formats import kit_sheets
from appliance.formats.kit_sheets import combine_sheets, known_word, read_sheet, split_seed, typed_words

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/slip39.json").read_text(encoding="utf-8"))
SEED = bytes(range(32))


def is_ours(words):
    """Two sheets of 33 words of one group, 2 of n: what a kit has."""
    return len(words) == 2 and all(len(one.split()) == 33 for one in words)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector[0].partition(".")[0] for vector in VECTORS])
def test_published_vectors_end_as_published(vector, monkeypatch):
    """Those of our form give their secret; what the standard refuses, and every other form, is refused."""
    title, words, secret, _ = vector
    monkeypatch.setattr(kit_sheets, "PASSPHRASE", b"TREZOR")  # the published vectors have one
    ours = is_ours(words) and "asic sharing 2-of-3" in title
    if ours and secret:
        for pair in (words, words[::-1]):
            assert combine_sheets(*pair)[0].hex() == secret
        return
    with pytest.raises(Invalid):
        combine_sheets(*(words * 2)[:2])


def test_two_published_vectors_are_of_our_form():
    assert [title for title, words, secret, _ in VECTORS if is_ours(words) and secret and "2-of-3" in title] == [
        "23. Basic sharing 2-of-3 (256 bits)",
        "45. Extendable basic sharing 2-of-3 (256 bits)",
    ]


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2), (1, 2), (2, 0)])
def test_any_two_sheets_give_the_seed(first, second):
    sheets = split_seed(SEED)
    seed, name = combine_sheets(sheets[first], sheets[second])
    assert seed == SEED
    assert all(sheet.startswith(f"{name} ") and len(sheet.split()) == 33 for sheet in sheets)


def test_one_sheet_says_nothing_of_the_seed():
    """Each sheet of many seeds is as random as any: no word of the share's value stands still."""
    columns = zip(*(split_seed(SEED)[0].split()[4:30] for _ in range(20)), strict=True)
    assert all(len(set(column)) > 10 for column in columns)


def test_a_sheet_may_be_typed_by_four_letters_in_capitals_with_numbers_and_commas():
    one, two, _ = split_seed(SEED)
    short = ", ".join(f"{number}. {word[:4].upper()}" for number, word in enumerate(one.split(), start=1))
    assert combine_sheets(short, two.upper())[0] == SEED


def test_first_four_letters_need_nothing_between_them_and_whole_words_are_never_cut():
    words = split_seed(SEED)[1].split()
    together = "".join(word[:4] for word in words)
    lines = "\n".join("".join(word[:4] for word in words[start : start + 11]) for start in (0, 11, 22))
    for typed in (together, lines, " ".join(words[:20]) + " " + "".join(word[:4] for word in words[20:])):
        assert read_sheet(typed, 1) == read_sheet(" ".join(words), 1)
    for word in WORDLIST:
        assert typed_words(word) == [word]
    with pytest.raises(Invalid, match="kit_word_count"):
        read_sheet(together[:-4], 1)


def test_every_word_is_known_by_its_first_four_letters():
    assert all(known_word(word[:4]) == word for word in WORDLIST)
    assert known_word("acadmic") is None
    assert known_word("") is None


@pytest.mark.parametrize("place", range(33))
def test_a_mistyped_word_is_named_by_its_place(place):
    words = split_seed(secrets.token_bytes(32))[0].split()
    words[place] = random.choice([word for word in WORDLIST if word != words[place]])
    with pytest.raises(Invalid) as refused:
        read_sheet(" ".join(words), 2)
    if place == 1 and refused.value.code == "kit_words_wrong":  # the flag that says which checksum it is
        return
    assert (refused.value.code, refused.value.details) == ("kit_word_wrong", {"sheet": 2, "word": place + 1})


def test_a_word_that_is_on_no_list_is_named_by_its_place():
    words = split_seed(SEED)[0].split()
    words[11] = "praxis"
    with pytest.raises(Invalid) as refused:
        read_sheet(" ".join(words), 1)
    assert (refused.value.code, refused.value.details) == ("kit_word_unknown", {"sheet": 1, "word": 12})


def test_several_wrong_words_are_told_and_none_is_blamed():
    words = split_seed(SEED)[0].split()
    words[5], words[20] = words[20], words[5]
    if words[5] != words[20]:
        with pytest.raises(Invalid, match="kit_words_wrong"):
            read_sheet(" ".join(words), 1)


@pytest.mark.parametrize("count", [0, 1, 20, 32, 34, 66])
def test_a_sheet_has_33_words(count):
    words = (split_seed(SEED)[0].split() * 2)[:count]
    with pytest.raises(Invalid) as refused:
        read_sheet(" ".join(words), 1)
    assert (refused.value.code, refused.value.details["count"]) == ("kit_word_count", count)


def test_the_same_sheet_twice_and_sheets_of_two_kits_are_told_apart():
    one, two, _ = split_seed(SEED)
    with pytest.raises(Invalid, match="kit_same_sheet"):
        combine_sheets(one, one)
    with pytest.raises(Invalid, match="kit_sheets_differ"):
        combine_sheets(one, split_seed(SEED)[1])


def test_a_forged_sheet_of_the_same_kit_gives_no_seed():
    from shamir_mnemonic import Share

    one, two, _ = split_seed(SEED)
    share = Share.from_mnemonic(two)
    forged = Share(**{**share.__dict__, "value": secrets.token_bytes(32)}).mnemonic()
    with pytest.raises(Invalid, match="kit_sheets_wrong"):
        combine_sheets(one, forged)
