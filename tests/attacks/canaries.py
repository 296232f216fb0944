"""Canaries: unique strings put into a document, a name, a secret, and the search for them in bytes of any origin.

Every text canary begins with one random mark, so that one search finds whichever of them is there, and what follows
the mark says which. What the product draws itself (S, PIN, cookie, token) is searched for as it is. A canary is looked
for as UTF-8, UTF-16, base64 at all three places in a group, hexadecimal, percent-encoded and JSON-escaped.

Does not look into compressed or encrypted bytes: whoever hunts there unpacks first.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import string
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path
from urllib.parse import quote

#: Where a digit or letter stands beside it, six digits are part of something else: a time, an address, a hash.
ALONE = (rb"(?<![0-9A-Za-z])", rb"(?![0-9A-Za-z])")
PIECE_BYTES = 4 * 1024 * 1024
#: No spelling of a canary is longer: pieces of a long file overlap by this.
OVERLAP_BYTES = 1024


def base64_spellings(value: bytes) -> Iterator[bytes]:
    """Give what base64 of any text that holds `value` must hold: three, by where in a group of three it begins."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value)
        first = (before * 8 + 5) // 6
        last = (before + len(value)) * 8 // 6
        yield encoded[first:last]
        yield encoded[first:last].replace(b"+", b"-").replace(b"/", b"_")


def spellings(value: str | bytes) -> set[bytes]:
    """Give the ways in which a text or a secret's bytes may stand somewhere."""
    forms: set[bytes] = set()
    if isinstance(value, str):
        forms |= {value.encode("utf-16-le"), json.dumps(value)[1:-1].encode()}
        forms |= {quote(value, safe="").encode(), quote(value, safe="").lower().encode()}
        if not value.isascii():
            forms.add(value.encode("latin-1"))
        value = value.encode()
    return forms | {value, value.hex().encode(), *base64_spellings(value)}


class Canaries:
    """The canaries of one walk; `plant` makes those that people type, `watch_for` takes those that the product drew."""

    def __init__(self) -> None:
        letters = string.ascii_letters + string.digits
        self.mark = "Q" + "".join(secrets.choice(letters) for _ in range(11))
        self._marks = spellings(self.mark)
        self._planted: dict[str, str] = {}
        self._drawn: dict[str, set[bytes]] = {}
        self._numbers: dict[str, tuple[bytes, re.Pattern[bytes]]] = {}

    def plant(self, kind: str) -> str:
        """Give the text to type for this kind: mark, kind, a letter that is spelled differently everywhere, an end."""
        self._planted[kind] = f"{self.mark}{kind}ß{secrets.token_hex(4)}"
        return self._planted[kind]

    def plant_ascii(self, kind: str) -> str:
        """Give such a text in plain letters."""
        self._planted[kind] = f"{self.mark}{kind}{secrets.token_hex(4)}"
        return self._planted[kind]

    def watch_for(self, kind: str, *values: str | bytes) -> None:
        """Look for a secret too, in each of the forms given: as text, as bytes."""
        assert all(len(value) >= 12 for value in values), "a short secret is found by chance"
        self._drawn.setdefault(kind, set()).update(*(spellings(value) for value in values))

    def watch_for_number(self, kind: str, number: str) -> None:
        """Look for a PIN where no digit or letter stands beside it; in its other spellings anywhere."""
        self._drawn.setdefault(kind, set()).update(spellings(number) - {number.encode()})
        self._numbers[kind] = (number.encode(), re.compile(ALONE[0] + number.encode() + ALONE[1]))

    @property
    def kinds(self) -> set[str]:
        """Every kind that is looked for."""
        return {*self._planted, *self._drawn}

    def found_in(self, data: bytes, allowed: Set[str] = frozenset()) -> set[str]:
        """Give the kinds found in these bytes, save those that are allowed here."""
        found = set()
        for form in self._marks:
            place = data.find(form)
            while place >= 0:
                found |= self._kinds_at(data[place : place + OVERLAP_BYTES])
                place = data.find(form, place + 1)
        for kind, forms in self._drawn.items():
            if kind not in allowed and any(form in data for form in forms):
                found.add(kind)
        # The plain search first: it is a hundred times faster than one with conditions.
        found |= {kind for kind, (number, alone) in self._numbers.items() if number in data and alone.search(data)}
        return found - allowed

    def found_in_pieces(self, pieces: Iterable[bytes], allowed: Set[str] = frozenset()) -> set[str]:
        """Give the kinds found in bytes that come in pieces, also across their borders."""
        found: set[str] = set()
        before = b""
        for piece in pieces:
            found |= self.found_in(before + piece, allowed)
            before = piece[-OVERLAP_BYTES:]
        return found

    def found_in_files(self, folders: Iterable[Path]) -> tuple[dict[str, set[str]], int]:
        """Give path -> kinds for every file below whose name or content holds one, and how many files were read."""
        found: dict[str, set[str]] = {}
        read = 0
        for folder in folders:
            for path in folder.rglob("*"):
                kinds = self.found_in(str(path).encode())
                if path.is_file() and not path.is_symlink():
                    read += 1
                    kinds |= self.found_in_pieces(file_pieces(path))
                if kinds:
                    found[str(path)] = kinds
        return found, read

    def _kinds_at(self, data: bytes) -> set[str]:
        """Say which canary begins here; "mark" if it is none that is known, or too little of it."""
        kinds = {kind for kind, text in self._planted.items() if data.startswith(tuple(spellings(text)))}
        return kinds or {"mark"}


def file_pieces(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece; one that has gone meanwhile is empty."""
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
    except FileNotFoundError:
        return


def assert_nowhere(found: Mapping[str, set[str]]) -> None:
    """Fail and say where which kinds were found."""
    assert not found, "\n".join(f"{', '.join(sorted(kinds))} in {place}" for place, kinds in sorted(found.items()))
