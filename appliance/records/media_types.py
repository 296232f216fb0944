"""Whether bytes are of the media type they are said to be. Pure.

The first bytes decide; text is anything without NUL (UTF-8 or ISO-8859-1: of the second every other byte is a
character). Nothing is parsed here: what a document does when shown is the browser's sandbox to bear.
Sources: ISO 32000-1 7.5.2; ITU-T T.81 B.1.1.3; W3C PNG 5.2; DICOM PS3.10 7.1; ISO/IEC 23008-12 B.4.1; TIFF 6.0
section 2.
"""

from __future__ import annotations

from appliance.contracts.values import MediaType

#: Where each signature stands and what it may be; any of them will do.
SIGNATURES: dict[MediaType, tuple[tuple[int, bytes], ...]] = {
    "application/dicom": ((128, b"DICM"),),
    "application/pdf": ((0, b"%PDF-"),),
    "image/heic": tuple((4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")),
    "image/jpeg": ((0, b"\xff\xd8\xff"),),
    "image/png": ((0, b"\x89PNG\r\n\x1a\n"),),
    "image/tiff": ((0, b"II*\0"), (0, b"MM\0*")),
    "text/plain": ((0, b""),),
}
LONGEST_SIGNATURE_BYTES = max(start + len(word) for words in SIGNATURES.values() for start, word in words)


def starts_as(media_type: MediaType, first_bytes: bytes) -> bool:
    """True if the content's first bytes (at least LONGEST_SIGNATURE_BYTES, or all there are) are of this type."""
    return any(first_bytes.startswith(word, start) for start, word in SIGNATURES[media_type])


def may_contain(media_type: MediaType, piece: bytes | bytearray | memoryview) -> bool:
    """True if a piece of content may stand in this type."""
    return media_type != "text/plain" or b"\0" not in bytes(piece)
