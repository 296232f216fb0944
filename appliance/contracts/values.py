"""Values that cross more than one interface, with their caps."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MAX_DOCUMENT_BYTES = 512 * 1024 * 1024
MAX_SHARE_DOCUMENTS = 200
MIN_PASSWORD_CHARACTERS = 12

#: 128-bit identifiers from the system's generator, as 32 lower-case hexadecimal digits.
Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
#: A session's or device's bearer token: 256 bits, base64url without padding.
Token = Annotated[str, msgspec.Meta(min_length=20, max_length=128)]
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
#: A date as YYYY-MM-DD; "" where the contract says it may be unknown.
BirthDate = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
PersonName = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
OptionalName = Annotated[str, msgspec.Meta(max_length=120)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
FileName = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Pin = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6,8}$")]
HostName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]

DocumentKind = Literal["finding", "lab", "invoice", "sick_note", "letter", "image", "radiotherapy"]
MediaType = Literal[
    "application/dicom", "application/pdf", "image/heic", "image/jpeg", "image/png", "image/tiff", "text/plain"
]
ShareState = Literal["open", "expired", "revoked", "closed"]
