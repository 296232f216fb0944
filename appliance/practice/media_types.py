"""What a document is, by its first bytes: PDF, JPEG, PNG, HEIC, TIFF, DICOM or plain text. Pure.

The word of a browser or a file's ending is not asked, except that text must not look like anything else. records
checks again.
"""

from __future__ import annotations

import codecs

from appliance.contracts.values import MediaType
from appliance.core.errors import Invalid

#: So many bytes are looked at.
FIRST_BYTES = 1024
#: What stands where. A DICOM file may begin with anything, so it is asked first (DICOM PS3.10 7.1).
_SIGNATURES: tuple[tuple[int, bytes, MediaType], ...] = (
    (128, b"DICM", "application/dicom"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    *((4, b"ftyp" + brand, "image/heic") for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")),
)
#: No browser shows these: staff and patients see the preview that records has of them.
SHOWN_BY_PREVIEW: frozenset[MediaType] = frozenset({"application/dicom", "image/heic", "image/tiff"})
_TEXT_CONTROLS = frozenset(b"\t\n\r\x0c\x1b")


def recognise(first: bytes, file_name: str) -> MediaType:
    """Give the media type; Invalid("document_empty") or Invalid("document_type")."""
    if not first:
        raise Invalid("document_empty")
    for start, signature, media_type in _SIGNATURES:
        if first.startswith(signature, start):
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
