"""Whether bytes are of the media type they are said to be. Pure.

The first bytes decide; text is anything without NUL (UTF-8 or ISO-8859-1: of the second every other byte is a
character). Nothing is parsed here: what a document does when shown is the browser's sandbox to bear.
Sources: ISO 32000-1 7.5.2; ITU-T T.81 B.1.1.3; W3C PNG 5.2.
"""

from __future__ import annotations

from appliance.contracts.values import MediaType

SIGNATURES: dict[MediaType, bytes] = {
    "application/pdf": b"%PDF-",
    "image/jpeg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "text/plain": b"",
}
LONGEST_SIGNATURE_BYTES = max(map(len, SIGNATURES.values()))


def starts_as(media_type: MediaType, first_bytes: bytes) -> bool:
    """True if the content's first bytes (at least LONGEST_SIGNATURE_BYTES, or all there are) are of this type."""
    return first_bytes.startswith(SIGNATURES[media_type])


def may_contain(media_type: MediaType, piece: bytes | bytearray | memoryview) -> bool:
    """True if a piece of content may stand in this type."""
    return media_type != "text/plain" or b"\0" not in bytes(piece)
