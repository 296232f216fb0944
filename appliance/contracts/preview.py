"""de.praxissafe.Preview: what can be shown or found of one document, made by a process that ends with the answer."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.core.varlink import Call, Interface

#: What is read; a larger document has no preview.
MAX_CONTENT_BYTES = 64 * 1024 * 1024
#: With the text's caps chosen so that an answer is a message of its own (core/varlink/message.py).
MAX_PICTURE_BYTES = 640 * 1024
MAX_TEXT_CHARACTERS = 400_000

#: Pictures that no browser shows, and the one type whose text is searched.
PreviewedType = Literal["application/dicom", "application/pdf", "image/heic", "image/tiff"]


class Preview(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An upright JPEG of at most 1600 by 1600 pixels (b"" for a PDF), and the text (of a PDF only)."""

    picture: Annotated[bytes, msgspec.Meta(max_length=MAX_PICTURE_BYTES)] = b""
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)] = ""


class MakePreview(Call[Preview]):
    """Make a document's preview; its bytes follow as a stream, at most 64 MiB. One call a connection.

    Invalid("content_size") for more bytes, Invalid("picture_size") for more pixels or memory than is given,
    Invalid("picture_missing") for a DICOM file without a picture, Invalid("content_damaged") for all else.
    """

    reply: ClassVar = Preview
    callers: ClassVar = frozenset({"records"})
    stream: ClassVar = "in"

    media_type: PreviewedType


PREVIEW = Interface.of("de.praxissafe.Preview", __file__, MakePreview)
