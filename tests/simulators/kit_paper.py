"""Somebody who reads an emergency sheet: gives its 33 words, in the order of their numbers."""

from __future__ import annotations

import re
import subprocess

WORDS = 33


def words_on(pdf: bytes) -> list[str]:
    """Read the words off the paper; needs pdftotext (poppler-utils)."""
    done = subprocess.run(["pdftotext", "-layout", "-", "-"], input=pdf, capture_output=True, check=True)
    found = {
        int(number): word for number, word in re.findall(r"\b([0-9]{1,2}) {2,}([a-z]{4,8})\b", done.stdout.decode())
    }
    return [found[number] for number in range(1, WORDS + 1)]
