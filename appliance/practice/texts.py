"""Every word a reader sees, from one catalogue per language (texts/<language>.toml), loaded once.

A key names a text; `{name}` in it is filled in. Both catalogues have the same keys and the same names (a test). The
texts are plain: markup stands in the templates, and a template escapes them like any other value.
"""

from __future__ import annotations

import datetime
import tomllib
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.errors import PraxisError
from appliance.practice.language import LANGUAGES

FOLDER = Path(__file__).parent / "texts"
#: Where practices are, wherever the box's own clock thinks it is (it runs in UTC).
PRACTICE_ZONE = zoneinfo.ZoneInfo("Europe/Berlin")
UNITS = ("B", "KB", "MB", "GB")


@dataclass(frozen=True)
class ErrorText:
    """What happened and what to do, and which field of the form it is about ("" for none)."""

    code: str
    what: str
    todo: str
    field: str


class _Details(dict[str, Any]):
    """Facts of a failure; one that is missing reads as a vague word instead of breaking the page."""

    def __init__(self, facts: Mapping[str, int | str], vague: str) -> None:
        super().__init__(facts)
        self._vague = vague

    def __missing__(self, _: str) -> str:
        return self._vague


class Texts:
    """One language's catalogue: call it with a key."""

    def __init__(self, language: str, catalogue: Mapping[str, str]) -> None:
        self.language = language
        self._catalogue = catalogue

    def __call__(self, key: str, **values: object) -> str:
        """Give a text; KeyError for a key that is in no catalogue (a bug)."""
        text = self._catalogue[key]
        return text.format(**values) if values else text

    def count(self, key: str, number: int, **values: object) -> str:
        """Give the text for one or for several (`key.one`, `key.other`), with `{number}`."""
        return self(f"{key}.{'one' if number == 1 else 'other'}", number=number, **values)

    def known(self, key: str) -> bool:
        """Say whether the catalogue has a key."""
        return key in self._catalogue

    def error(self, error: PraxisError) -> ErrorText:
        """Put a failure in the reader's words; one without words of its own by its family."""
        key = f"error.{error.code}"
        if f"{key}.what" not in self._catalogue:
            key = f"error.family_{error.family.lower()}"
        details = _Details(error.details, self._catalogue["error.vague"])
        field = str(error.details.get("field", self._catalogue.get(f"{key}.field", "")))
        what, todo = (self._catalogue[f"{key}.{part}"].format_map(details) for part in ("what", "todo"))
        return ErrorText(error.code, what, todo, field)

    def date(self, iso: str) -> str:
        """Give a YYYY-MM-DD as the reader writes it; "" stays ""."""
        if not iso:
            return ""
        year, month, day = iso.split("-")
        return self._catalogue["form.date"].format(year=year, month=month, day=day)

    def moment(self, unix_s: int) -> str:
        """Give a time at the practice; "" for 0."""
        if not unix_s:
            return ""
        local = local_time(unix_s)
        return f"{self.date(local.date().isoformat())}, {local:%H:%M}"

    def day(self, unix_s: int) -> str:
        """Give the date of a time at the practice; "" for 0."""
        if not unix_s:
            return ""
        return self.date(local_time(unix_s).date().isoformat())

    def size(self, length: int) -> str:
        """Give a length in bytes in the largest fitting unit (1 KB = 1024 bytes)."""
        value, unit = float(length), 0
        while value >= 1024 and unit < len(UNITS) - 1:
            value, unit = value / 1024, unit + 1
        number = f"{value:.0f}" if unit < 2 or value >= 100 else f"{value:.1f}"
        return f"{number.replace('.', self._catalogue['form.decimal'])} {UNITS[unit]}"


def local_time(unix_s: float) -> datetime.datetime:
    """Give a time as the practice's clock on the wall shows it."""
    return datetime.datetime.fromtimestamp(unix_s, PRACTICE_ZONE)


def read_catalogue(language: str, folder: Path = FOLDER) -> dict[str, str]:
    """Read a catalogue as flat keys: `[a.b]` with `c = "…"` is `a.b.c`."""
    return dict(_flat("", tomllib.loads((folder / f"{language}.toml").read_text(encoding="utf-8"))))


def read_texts() -> dict[str, Texts]:
    """Read every language."""
    return {language: Texts(language, read_catalogue(language)) for language in LANGUAGES}


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}", str(value)
