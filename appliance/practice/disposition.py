"""File names and texts in HTTP headers: RFC 6266 (Content-Disposition) and RFC 8187 (percent-encoded UTF-8). Pure."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote, unquote_to_bytes

from appliance.core.errors import Invalid

MAX_HEADER_CHARACTERS = 2048
_ATTRIBUTE_CHARACTERS = "!#$&+-.^_`|~"  # RFC 8187 3.2.1, attr-char besides letters and digits
_EXTENDED = re.compile(r"utf-8'[A-Za-z0-9-]{0,16}'", re.IGNORECASE)


def content_disposition(kind: str, file_name: str) -> str:
    """Give `inline` or `attachment` with the name twice: plain ASCII for old clients, and exactly."""
    plain = unicodedata.normalize("NFKD", file_name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ._()-]", "_", plain).strip() or "document"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe=_ATTRIBUTE_CHARACTERS)}"


def header_text(value: str, field: str) -> str:
    """Read a text from a header: ASCII, with everything else percent-encoded as UTF-8; a prefix UTF-8'' is allowed.

    Raises Invalid("header_encoding", field=…).
    """
    if len(value) > MAX_HEADER_CHARACTERS or not value.isascii():
        raise Invalid("header_encoding", field=field)
    if prefix := _EXTENDED.match(value):
        value = value[prefix.end() :]
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise Invalid("header_encoding", field=field)
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid("header_encoding", field=field) from error
