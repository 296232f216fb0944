"""Where in a document a search found its words: the place, and the line of text around the first one. Pure.

A line is shown only if the title, the file name and the patient's name do not already explain the result, so that a
search by title shows nothing of what stands in a document. Spellings as in names.py: a search for "mueller" or
"muller" marks "Müller" in the text as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from appliance.contracts.records import Passage, Place
from appliance.records.names import text_search_words, text_words

BEFORE_CHARACTERS = 60
AFTER_CHARACTERS = 120
MAX_MARKED_CHARACTERS = 80
#: Latin letters with their accents (Unicode blocks Latin-1 Supplement, Latin Extended-A, -B and Additional).
_ACCENTED = [chr(number) for first, last in ((0xC0, 0x24F), (0x1E00, 0x1EFF)) for number in range(first, last + 1)]


def place_of(search: str, title: str, file_name: str, patient_name: str, text: str) -> tuple[Place, Passage | None]:
    """Say where the words of `search` stand; with a passage if it needs the text to tell."""
    left = _not_in(text_search_words(search), f"{title} {patient_name}")
    if not left:
        return "title", None
    left = _not_in(left, file_name)
    if not left:
        return "name", None
    return "text", _passage(left, text)


def _not_in(words: list[tuple[str, str]], text: str) -> list[tuple[str, str]]:
    known = text_words(text).split()
    return [spellings for spellings in words if not any(word.startswith(spellings) for word in known)]


def _passage(words: list[tuple[str, str]], text: str) -> Passage | None:
    text = unicodedata.normalize("NFC", text)
    spellings = dict.fromkeys(spelling for pair in words for spelling in pair)
    found = re.search(rf"(?<![^\W_])(?:{'|'.join(map(_as_written, spellings))})[^\W_]*", text)
    if found is None:
        return None
    start, end = found.span()
    before = " ".join(text[max(0, start - BEFORE_CHARACTERS) : start].split())
    after = " ".join(text[end : end + AFTER_CHARACTERS].split())
    return Passage(
        before=_cut(before, start > BEFORE_CHARACTERS, at_start=True) + " " * text[start - 1 : start].isspace(),
        words=found[0][:MAX_MARKED_CHARACTERS],
        after=" " * text[end : end + 1].isspace() + _cut(after, end + AFTER_CHARACTERS < len(text), at_start=False),
    )


def _cut(line: str, shortened: bool, *, at_start: bool) -> str:
    """Take off the half word where the line was cut, and say that it was."""
    if not shortened:
        return line
    if at_start:
        return "… " + line.partition(" ")[2]
    return line.rpartition(" ")[0] + " …"


def _as_written(word: str) -> str:
    """Give the pattern for a folded word as people write it."""
    pattern, position, letters = "", 0, _letters()
    while position < len(word):
        pair, letter = word[position : position + 2], word[position]
        single = f"[{letters.get(letter, '')}{re.escape(letter)}{re.escape(letter.upper())}]"
        if len(pair) == 2 and pair in letters:
            second = f"[{letters.get(pair[1], '')}{re.escape(pair[1])}{re.escape(pair[1].upper())}]"
            pattern += f"(?:[{letters[pair]}]|{single}{second})"
            position += 2
        else:
            pattern += single
            position += 1
    return pattern


@lru_cache(maxsize=1)
def _letters() -> dict[str, str]:
    """Give folded letter or pair -> the accented letters it may stand for."""
    letters: dict[str, str] = {}
    for letter in _ACCENTED:
        for folded in dict.fromkeys(text_words(letter).split()):
            if len(folded) <= 2:
                letters[folded] = letters.get(folded, "") + letter
    return letters
