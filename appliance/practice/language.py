"""Which language a reader gets: the one chosen by the link on each page, else the browser's, else German. Pure."""

from __future__ import annotations

import re

LANGUAGES = ("de", "en")
DEFAULT = "de"
COOKIE = "__Host-language"
MAX_HEADER_CHARACTERS = 512
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,32})?\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*\Z")


def choose(cookie: str | None, accept_language: str) -> str:
    """Choose by the cookie, else by Accept-Language (RFC 9110 12.5.4), else the default."""
    if cookie in LANGUAGES:
        return str(cookie)
    best, best_weight = DEFAULT, 0.0
    for part in accept_language[:MAX_HEADER_CHARACTERS].split(","):
        found = _RANGE.match(part)
        if found is None:
            continue
        language = found[1].lower()
        weight = float(found[2]) if found[2] is not None else 1.0
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best
