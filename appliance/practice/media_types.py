"""What a document is, by its first bytes: PDF, JPEG, PNG or plain text. Pure.

The word of a browser or a file's ending is not asked, except that text must not look like anything else. records
checks again.
"""

from __future__ import annotations

import codecs

from appliance.contracts.values import MediaType
from appliance.core.errors import Invalid

#: So many bytes are looked at.
FIRST_BYTES = 1024
_SIGNATURES: tuple[tuple[bytes, MediaType], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
)
_TEXT_CONTROLS = frozenset(b"\t\n\r\x0c\x1b")


def recognise(first: bytes, file_name: str) -> MediaType:
    """Give the media type; Invalid("document_empty") or Invalid("document_type")."""
    if not first:
        raise Invalid("document_empty")
    for signature, media_type in _SIGNATURES:
        if first.startswith(signature):
            return media_type
    looks_like_text = all(byte >= 0x20 or byte in _TEXT_CONTROLS for byte in first[:FIRST_BYTES])
    if looks_like_text and file_name.lower().endswith((".txt", ".text")):
        return "text/plain"
    raise Invalid("document_type")


def text_charset(first: bytes) -> str:
    """Give the charset to show a text in: UTF-8 if its beginning is, else the one of older practice software."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(first, final=False)
    except UnicodeDecodeError:
        return "windows-1252"
    return "utf-8"
