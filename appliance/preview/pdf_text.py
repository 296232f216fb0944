"""The text of a PDF, in the order in which its pages hold it, up to the contract's caps. No picture is made of it."""

from __future__ import annotations

import re
import unicodedata

import msgspec
import pypdfium2

from appliance.contracts.preview import MAX_TEXT_CHARACTERS

#: As JSON, so that the answer is within a message whatever characters it holds.
MAX_TEXT_BYTES = 900 * 1024
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\s*\n\s*")


def read_text(content: bytes | bytearray) -> str:
    """Give the text; "" for a scan. A PDF with a password cannot be read and raises."""
    parts, length = list[str](), 0
    document = pypdfium2.PdfDocument(bytes(content))
    for number in range(len(document)):
        page = document[number]
        part = _plain(page.get_textpage().get_text_bounded())
        page.close()
        parts.append(part)
        length += len(part) + 1
        if length > MAX_TEXT_CHARACTERS:
            break
    return _within_caps("\n".join(part for part in parts if part))


def _plain(text: str) -> str:
    """One line a line, one blank between words, no control or unpaired character."""
    text = "".join("\n" if c in "\r\n" else c for c in text if c in "\r\n\t" or unicodedata.category(c)[0] != "C")
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def _within_caps(text: str) -> str:
    text = text[:MAX_TEXT_CHARACTERS]
    while len(msgspec.json.encode(text)) > MAX_TEXT_BYTES:
        text = text[: len(text) * 3 // 4]
    return text
