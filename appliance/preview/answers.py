"""What preview answers: bytes in, capped as they come, held in memory only; a picture or a text out.

Rules: whatever the document does to a library is a stated refusal or the end of this one process, never an answer
that somebody else must survive; nothing is written anywhere. The libraries are loaded when their type has come.
"""

from __future__ import annotations

from appliance.contracts.preview import MAX_CONTENT_BYTES, MakePreview, Preview, PreviewedType
from appliance.core.errors import Invalid, PraxisError
from appliance.core.varlink import Answers, Caller, Stream


async def answer_make_preview(call: MakePreview, _: Caller, stream: Stream) -> Preview:
    """Read the document and make its preview. Blocking: there is nobody else to serve."""
    content = bytearray()
    async for piece in stream.pieces():
        if len(content) + len(piece) > MAX_CONTENT_BYTES:
            raise Invalid("content_size", max_bytes=MAX_CONTENT_BYTES)
        content += piece
    return make_preview(call.media_type, content)


def make_preview(media_type: PreviewedType, content: bytearray) -> Preview:
    """Make the preview of a whole document; Invalid as in the contract."""
    try:
        if media_type == "application/pdf":
            from appliance.preview.pdf_text import read_text

            return Preview(text=read_text(content))
        if media_type == "application/dicom":
            from appliance.preview import dicom

            return Preview(picture=dicom.picture_of(content))
        from appliance.preview import photograph

        return Preview(picture=photograph.picture_of(content, "HEIF" if media_type == "image/heic" else "TIFF"))
    except PraxisError:
        raise
    except MemoryError as error:
        raise Invalid("picture_size") from error
    except Exception as error:  # a decoder's failures have no common family, and this process ends anyway
        raise Invalid("content_damaged") from error


#: The whole table.
PREVIEW_ANSWERS: Answers = {MakePreview: answer_make_preview}
