"""The envelope: how one document is sealed in a file, piece by piece, and opened again.

Layout and byte offsets: docs/formats/envelope.md. The outer layer is streaming_aead; the inner layer hides
name, media type and exact length. The length stands at the end, because that of an upload is known only there;
a reader has it beforehand from the database row or the manifest and must find the same.

Rules: every document has its own key; box and document are bound as associated data (docs/threats.md, A4), so
a file under another document's name does not open. A name is never outside the ciphertext (A6). What a
DocumentOpener returns is authentic content in order; the document is whole only when `finish` has returned.

Not here: where keys come from, files, the manifest's SHA-256 over the sealed file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from appliance.core.errors import Invalid, Tampered
from appliance.formats.padme import padme
from appliance.formats.streaming_aead import (
    HEADER_BYTES,
    KEY_BYTES,
    MAX_PLAINTEXT_BYTES,
    NONCE_PREFIX_BYTES,
    SALT_BYTES,
    Buffer,
    Opener,
    Sealer,
    SegmentCipher,
    sealed_length,
    segment_span,
)

__all__ = [
    "HEADER_BYTES",
    "KEY_BYTES",
    "MAX_PLAINTEXT_BYTES",
    "NONCE_PREFIX_BYTES",
    "SALT_BYTES",
    "DocumentOpener",
    "DocumentSealer",
    "InnerHeader",
    "MediaType",
    "Name",
    "Opener",
    "Sealer",
    "SegmentCipher",
    "decode_inner_header",
    "document_associated_data",
    "document_sealed_length",
    "encode_inner_header",
    "sealed_length",
    "segment_span",
]

CONTEXT = b"praxissafe document 1\0"
IDENTIFIER_BYTES = 16
JSON_LENGTH_BYTES = 4
TRAILER_BYTES = 8
MAX_INNER_JSON_BYTES = 2048
MAX_CONTENT_BYTES = 1 << 40
PADDING_PIECE_BYTES = 1 << 16
ZEROS = bytes(PADDING_PIECE_BYTES)

_TYPE_NAME = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}"
#: One line as people read it: no control character, so that it can be shown and offered as a file name.
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,255}\Z")]
#: type/subtype in lower case, without parameters (RFC 6838 section 4.2).
MediaType = Annotated[str, msgspec.Meta(pattern=rf"^{_TYPE_NAME}/{_TYPE_NAME}\Z")]


class InnerHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a document says about itself inside the ciphertext."""

    name: Name
    media_type: MediaType


def document_associated_data(box: bytes, document: bytes) -> bytes:
    """Return what binds a sealed file to its box and document, 16 bytes each."""
    if len(box) != IDENTIFIER_BYTES or len(document) != IDENTIFIER_BYTES:
        raise Invalid("document_identifier")
    return CONTEXT + box + document


def encode_inner_header(name: str, media_type: str) -> bytes:
    """Return the JSON with its length before it; Invalid for a name or type that no reader would accept."""
    try:
        encoded = msgspec.json.encode(InnerHeader(name, media_type))
        msgspec.json.decode(encoded, type=InnerHeader)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise Invalid("document_header") from error
    return len(encoded).to_bytes(JSON_LENGTH_BYTES, "big") + encoded


def decode_inner_header(encoded: bytes) -> InnerHeader:
    """Read the JSON (without its length). Only the one form that `encode_inner_header` writes is accepted."""
    try:
        header = msgspec.json.decode(encoded, type=InnerHeader)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Tampered("document_header") from error
    if msgspec.json.encode(header) != encoded:
        raise Tampered("document_header")
    return header


def _padding_length(inner_header_length: int, content_length: int) -> int:
    unpadded = inner_header_length + content_length + TRAILER_BYTES
    return padme(unpadded) - unpadded


def document_sealed_length(name: str, media_type: str, content_length: int) -> int:
    """Return the size of the file that a document of `content_length` bytes becomes."""
    if not 0 <= content_length <= MAX_CONTENT_BYTES:
        raise Invalid("document_length")
    return sealed_length(padme(len(encode_inner_header(name, media_type)) + content_length + TRAILER_BYTES))


class DocumentSealer:
    """Seals one document whose length is known only at its end.

    The file is `header`, then what each `seal` returns, then every piece of `finish`. `content_length` counts.
    """

    def __init__(
        self,
        key: bytes,
        box: bytes,
        document: bytes,
        name: str,
        media_type: str,
        salt: bytes,
        nonce_prefix: bytes,
    ) -> None:
        self._inner_header = encode_inner_header(name, media_type)
        self._sealer = Sealer(key, document_associated_data(box, document), salt, nonce_prefix)
        self._sealer.seal(self._inner_header)  # shorter than a segment: nothing comes out yet
        self.content_length = 0

    def header(self) -> bytes:
        """Return the first bytes of the file."""
        return self._sealer.header()

    def seal(self, piece: Buffer) -> bytes:
        """Take the next content and return the segments it completes, often none."""
        if self.content_length + len(piece) > MAX_CONTENT_BYTES:
            raise Invalid("document_length")
        self.content_length += len(piece)
        return self._sealer.seal(piece)

    def finish(self) -> Iterator[bytes]:
        """Yield the rest of the file: last content, padding, length. The file is whole when this has ended."""
        padding = _padding_length(len(self._inner_header), self.content_length)
        while padding:
            piece = ZEROS[:padding]
            padding -= len(piece)
            if sealed := self._sealer.seal(piece):
                yield sealed
        if sealed := self._sealer.seal(self.content_length.to_bytes(TRAILER_BYTES, "big")):
            yield sealed
        yield self._sealer.finish()


class DocumentOpener:
    """Opens one document of a known length. Raises Tampered for anything but exactly what was sealed.

    `inner_header` is None until its segment has been opened, which is before the first content.
    """

    def __init__(self, key: bytes, box: bytes, document: bytes, content_length: int) -> None:
        if not 0 <= content_length <= MAX_CONTENT_BYTES:
            raise Invalid("document_length")
        self._opener = Opener(key, document_associated_data(box, document))
        self._content_length = content_length
        self._content_missing = content_length
        self._padding_missing = 0
        self._collected = b""
        self._broken = False
        self.inner_header: InnerHeader | None = None

    def open(self, piece: Buffer) -> bytes:
        """Take the next sealed bytes and return the content they complete, often none."""
        return self._read(self._opener.open(piece))

    def finish(self) -> bytes:
        """Return the last content. Only now is it known that the document is complete."""
        content = self._read(self._opener.finish())
        if self.inner_header is None or self._content_missing or self._padding_missing:
            raise Tampered("document_length")
        if self._collected != self._content_length.to_bytes(TRAILER_BYTES, "big"):
            raise Tampered("document_length")
        return content

    def _read(self, plaintext: bytes) -> bytes:
        if self._broken:
            raise Tampered("envelope_closed")
        self._broken = True  # stays so if anything below raises
        if self.inner_header is None:
            plaintext = self._read_inner_header(plaintext)
        content = plaintext[: self._content_missing]
        self._content_missing -= len(content)
        if len(content) < len(plaintext):
            self._read_end(plaintext[len(content) :])
        self._broken = False
        return content

    def _read_inner_header(self, plaintext: bytes) -> bytes:
        # The first plaintext is a whole segment or all there is: a header that is not whole never will be.
        if not plaintext:
            return plaintext
        json_length = int.from_bytes(plaintext[:JSON_LENGTH_BYTES], "big")
        end = JSON_LENGTH_BYTES + json_length
        if json_length > MAX_INNER_JSON_BYTES or len(plaintext) < end:
            raise Tampered("document_header")
        self.inner_header = decode_inner_header(plaintext[JSON_LENGTH_BYTES:end])
        self._padding_missing = _padding_length(end, self._content_length)
        return plaintext[end:]

    def _read_end(self, plaintext: bytes) -> None:
        padding = plaintext[: self._padding_missing]
        if padding.count(0) != len(padding):
            raise Tampered("document_padding")
        self._padding_missing -= len(padding)
        self._collected += plaintext[len(padding) :]
        if len(self._collected) > TRAILER_BYTES:
            raise Tampered("document_length")
