"""Every word a technician or a practice reads, from one catalogue per language (texts/<language>.toml), loaded once.

Both catalogues have the same keys (a test). On the bench both languages are said, German first: two people may stand
at one box. A failure is two sentences in each: what happened, and what to do.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.errors import PraxisError

FOLDER = Path(__file__).parent / "texts"
LANGUAGES = ("de", "en")
#: What a failure is that has no words of its own: a box or a portal may be newer than the station.
OTHERWISE = "otherwise"


@dataclass(frozen=True)
class Advice:
    """What happened and what to do."""

    what: str
    todo: str


class Texts:
    """One language's catalogue: call it with a key."""

    def __init__(self, catalogue: dict[str, Any]) -> None:
        self._catalogue = catalogue

    def __call__(self, key: str, **facts: str | int) -> str:
        """Give a text; `{name}` in it is filled in."""
        section, _, name = key.partition(".")
        return str(self._catalogue[section][name]).format(**facts)

    def keys(self) -> set[str]:
        """Give all keys."""
        return {f"{section}.{name}" for section, texts in self._catalogue.items() for name in texts}

    @property
    def failures(self) -> set[str]:
        """Give the codes of failures that have words of their own."""
        return set(self._catalogue["failure"])

    def advice(self, code: str, facts: dict[str, Any]) -> Advice:
        """Give the two sentences for a failure."""
        texts = self._catalogue["failure"]
        found = texts.get(code, texts[OTHERWISE])
        return Advice(**{name: text.format_map(_Facts(facts)) for name, text in found.items()})


class _Facts(dict[str, Any]):
    """Facts of a failure; one that is missing reads as an ellipsis instead of breaking the sentence."""

    def __missing__(self, _: str) -> str:
        return "…"


@functools.cache
def texts_in(language: str) -> Texts:
    """Give the catalogue of a language."""
    return Texts(tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8")))


def say(key: str, **facts: str | int) -> str:
    """Give a text in both languages, German first."""
    return " / ".join(texts_in(language)(key, **facts) for language in LANGUAGES)


def explain(error: PraxisError) -> str:
    """Give what happened and what to do, German first, and the code for the vendor."""
    advice = [texts_in(language).advice(error.code, error.details) for language in LANGUAGES]
    return "\n".join([*(f"{found.what} {found.todo}" for found in advice), f"({error.family}: {error.code})"])
