"""Names as people write them: cleaned for storing, folded for finding. Pure.

Cleaned: NFC, without control, format and direction-changing characters (Unicode categories Cc, Cf, Cs, Zl, Zp: a
name must look like what it is, UTR 36 section 2.10), white space single. A file name is its last component only.

Folded: case, accents and punctuation ignored. German letters have two spellings and both find: "Müller" is kept as
"muller" and "mueller". A patient is the same if names agree in the long spelling and the birth date is equal.
"""

from __future__ import annotations

import datetime
import re
import unicodedata

from appliance.contracts.records import Person
from appliance.core.errors import Invalid

MAX_FILE_NAME_CHARACTERS = 255
MAX_SUFFIX_CHARACTERS = 16
MAX_SEARCH_WORDS = 8
MAX_WORD_CHARACTERS = 64

_REMOVED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NO_WORD = re.compile(r"[\W_]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_LONG = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae", "œ": "oe", "đ": "d", "ł": "l", "ı": "i"}
)
_SHORT = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "đ": "d", "ł": "l", "ı": "i"})


def clean(text: str) -> str:
    """Return the text without what cannot be seen; may be empty."""
    spaced = re.sub(r"\s+", " ", text)
    seen = "".join(character for character in spaced if unicodedata.category(character) not in _REMOVED)
    return unicodedata.normalize("NFC", re.sub(r"\s+", " ", seen)).strip()


def clean_title(text: str, code: str = "title") -> str:
    """Return a cleaned title or name; Invalid(code) if nothing is left."""
    title = clean(text)
    if not title:
        raise Invalid(code)
    return title


def clean_file_name(text: str) -> str:
    """Return the last component of a path, cleaned, at most 255 characters with its suffix kept."""
    name = clean(re.split(r"[/\\]", text)[-1])
    if not name.strip("."):
        raise Invalid("file_name")
    if len(name) <= MAX_FILE_NAME_CHARACTERS:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = dot + suffix if stem and len(suffix) < MAX_SUFFIX_CHARACTERS else ""
    return name[: MAX_FILE_NAME_CHARACTERS - len(ending)] + ending


def clean_person(person: Person) -> Person:
    """Return the person cleaned; Invalid("family_name"), ("given_name") or ("birth_date", no day of the calendar)."""
    try:
        datetime.date.fromisoformat(person.birth_date)
    except ValueError as error:
        raise Invalid("birth_date") from error
    return Person(
        family_name=clean_title(person.family_name, "family_name"),
        given_name=clean_title(person.given_name, "given_name"),
        birth_date=person.birth_date,
        number=clean(person.number),
    )


def match_key(person: Person) -> str:
    """Return what two spellings of one person's names have in common; lists are ordered by it (DIN 5007-2)."""
    family, given = (" ".join(_words(_long(name))) for name in (person.family_name, person.given_name))
    return f"{family or person.family_name}\x1f{given or person.given_name}"


def name_words(person: Person) -> set[str]:
    """Return the words, in every spelling, under which a patient is found."""
    return {word for name in (person.family_name, person.given_name) for word in _spellings(name)}


def search_words(text: str) -> list[tuple[str, str]]:
    """Return the words of a search in both spellings; a patient must have a word beginning with one of each."""
    return list(zip(_words(_short(text)), _words(_long(text)), strict=False))[:MAX_SEARCH_WORDS]


def text_words(text: str) -> str:
    """Return a text's words for the index, parted by blanks: the long spelling of each, then the short ones."""
    long = _cut_words(_long(text))
    if text.isascii():
        return " ".join(long)
    short = _cut_words(_short(text))
    return " ".join((*long, *(word for word, other in zip(short, long, strict=False) if word != other)))


def text_search_words(text: str) -> list[tuple[str, str]]:
    """Return the words of a search in both spellings, as `text_words` has them."""
    pairs = zip(_cut_words(_short(text)), _cut_words(_long(text)), strict=False)
    return list(dict.fromkeys(pairs))[:MAX_SEARCH_WORDS]


def _cut_words(folded: str) -> list[str]:
    return [word[:MAX_WORD_CHARACTERS] for word in _words(folded)]


def _spellings(text: str) -> set[str]:
    return {*_words(_long(text)), *_words(_short(text))}


def _words(folded: str) -> list[str]:
    return _NO_WORD.sub(" ", folded).split()


def _long(text: str) -> str:
    return _without_accents(unicodedata.normalize("NFC", text.casefold()).translate(_LONG))


def _short(text: str) -> str:
    return _without_accents(unicodedata.normalize("NFC", text.casefold()).translate(_SHORT))


def _without_accents(text: str) -> str:
    if text.isascii():
        return text
    # NFKD parts a letter from its accents (UAX 15); casefold again, as compatibility forms may hold capitals.
    decomposed = unicodedata.normalize("NFKD", text)
    return _NOT_ASCII.sub(_unless_accent, decomposed).casefold()


def _unless_accent(found: re.Match[str]) -> str:
    return "" if unicodedata.category(found[0]) == "Mn" else found[0]
