"""Opening a sealed file piece by piece: its key comes from vault for as long as it is read, and no longer.

A file is bound to the box that it was sealed on: the row says which, when that was not this one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import islice

from appliance.formats.envelope import document_associated_data, encode_inner_header
from appliance.records import document_keys, previews
from appliance.records.archive import Archive
from appliance.records.documents import Sealed
from appliance.records.previews import SealedPreview
from appliance.records.sealed_files import SealedReader
from appliance.records.threads import on_thread

SEGMENTS_AT_ONCE = 4


def open_sealed(archive: Archive, sealed: Sealed, first: int = 0) -> AsyncGenerator[bytes, None]:
    """Give a document's content from offset `first`. Close what this gives (contextlib.aclosing)."""
    of = sealed.description
    header = encode_inner_header(of.name, of.media_type)
    return _open(archive, sealed, of.document, header, of.length, first)


def open_preview(archive: Archive, sealed: SealedPreview) -> AsyncGenerator[bytes, None]:
    """Give a preview's JPEG. Close what this gives."""
    header = encode_inner_header(previews.NAME, previews.MEDIA_TYPE)
    return _open(archive, sealed, sealed.preview, header, sealed.length, 0)


async def _open(
    archive: Archive, sealed: Sealed | SealedPreview, identifier: str, inner_header: bytes, length: int, first: int
) -> AsyncGenerator[bytes, None]:
    key = await document_keys.unwrap(archive, identifier, sealed.wrapped_key)
    box = bytes.fromhex(sealed.sealed_for) or archive.box_bytes
    reader = await on_thread(
        archive.file_threads,
        SealedReader,
        archive.files.path(sealed.file),
        sealed.sealed_length,
        key,
        document_associated_data(box, bytes.fromhex(identifier)),
        inner_header,
        length,
    )
    pieces = reader.pieces(first)

    def open_some() -> bytes:
        return b"".join(islice(pieces, SEGMENTS_AT_ONCE))

    try:
        while piece := await on_thread(archive.file_threads, open_some):
            yield piece
    finally:
        reader.close()
