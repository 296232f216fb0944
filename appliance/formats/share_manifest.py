"""The share manifest: which documents a link opens, with their keys, sealed for the link's holder alone.

Layout and byte offsets: docs/formats/share-manifest.md. Sealed under a key that neither the link nor vault can make
alone (share_link.manifest_key); box, locator and expiry are bound as associated data, so a manifest moved to
another box or share, or given a later date, does not open (docs/threats.md, A3, A4).

Rules: there is one spelling; what opens encodes to the same bytes again. A manifest that is not authentic or not
of this form is Tampered as a whole. Keys and names are left out of `repr`.

Not here: whether a share is open or expired (vault), the files themselves (records, envelope).
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.core.errors import Invalid, Tampered
from appliance.formats.envelope import IDENTIFIER_BYTES, KEY_BYTES, MAX_CONTENT_BYTES, MediaType, Name
from appliance.formats.padme import padme

VERSION = 1
CONTEXT = b"praxissafe manifest 1\0"
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_DOCUMENTS = 256
#: Of the sealed file; a reader refuses a longer one before it opens it.
MAX_SEALED_MANIFEST_BYTES = 1 << 20
#: 9999-12-31, the last day that every date type knows.
MAX_EXPIRES_AT = 253402300799

Identifier = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
#: base64url without padding of 32 bytes: the last of 43 characters carries four bits.
KeyText = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Kind = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z_]{0,31}\Z")]
Title = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]{0,255}\Z")]
Length = Annotated[int, msgspec.Meta(ge=0, le=MAX_CONTENT_BYTES)]
SealedLength = Annotated[int, msgspec.Meta(ge=1, le=2 * MAX_CONTENT_BYTES)]


class ManifestPreview(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The picture of a document that browsers cannot show: a JPEG in an envelope of its own."""

    id: Identifier
    file: Identifier
    key: KeyText
    length: Length
    sealed_length: SealedLength
    sha256: Digest
    box: Identifier | None = None

    def __repr__(self) -> str:
        return "ManifestPreview(...)"


class ManifestDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One document of a share. `box`: the one that sealed it, if it is not the share's own."""

    id: Identifier
    file: Identifier
    key: KeyText
    name: Name
    title: Title
    kind: Kind
    media_type: MediaType
    length: Length
    sealed_length: SealedLength
    sha256: Digest
    box: Identifier | None = None
    preview: ManifestPreview | None = None

    def __repr__(self) -> str:
        return "ManifestDocument(...)"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a link opens."""

    version: Literal[1]
    documents: Annotated[tuple[ManifestDocument, ...], msgspec.Meta(min_length=1, max_length=MAX_DOCUMENTS)]


def sealed_on(each: ManifestDocument | ManifestPreview, box: bytes) -> bytes:
    """Return the box that a file is bound to: the share's own `box`, unless the manifest names another."""
    return box if each.box is None else bytes.fromhex(each.box)


def format_key(key: bytes) -> str:
    """Return a document key as the manifest spells it."""
    if len(key) != KEY_BYTES:
        raise Invalid("share_document_key")
    return base64.urlsafe_b64encode(key).decode("ascii").rstrip("=")


def parse_key(text: str) -> bytes:
    """Return the document key of an opened manifest."""
    return base64.urlsafe_b64decode(text + "=")


def manifest_associated_data(box: bytes, locator: str, expires_at: int) -> bytes:
    """Return what binds a manifest to its box (16 bytes), share (32 hex digits) and expiry (UTC, seconds)."""
    try:
        locator_bytes = bytes.fromhex(locator)
    except ValueError as error:
        raise Invalid("share_locator") from error
    if len(locator) != 2 * IDENTIFIER_BYTES or locator_bytes.hex() != locator:
        raise Invalid("share_locator")
    if len(box) != IDENTIFIER_BYTES:
        raise Invalid("share_box")
    if not 0 < expires_at <= MAX_EXPIRES_AT:
        raise Invalid("share_expiry")
    return CONTEXT + box + locator_bytes + expires_at.to_bytes(8, "big")


def seal_manifest(manifest: Manifest, key: bytes, nonce: bytes, box: bytes, locator: str, expires_at: int) -> bytes:
    """Return the manifest file. `nonce` is random; a key seals one manifest only."""
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise Invalid("share_key")
    associated_data = manifest_associated_data(box, locator, expires_at)
    encoded = _encode(manifest)
    try:
        _check(msgspec.json.decode(encoded, type=Manifest), box)
    except (msgspec.DecodeError, ValueError) as error:
        raise Invalid("share_manifest") from error
    sealed = nonce + AESGCM(key).encrypt(nonce, encoded, associated_data)
    if len(sealed) > MAX_SEALED_MANIFEST_BYTES:
        raise Invalid("share_too_large")
    return sealed


def open_manifest(sealed: bytes, key: bytes, box: bytes, locator: str, expires_at: int) -> Manifest:
    """Open and check a manifest file; Tampered for anything that `seal_manifest` did not write for these values."""
    if len(key) != KEY_BYTES:
        raise Invalid("share_key")
    associated_data = manifest_associated_data(box, locator, expires_at)
    if not NONCE_BYTES + TAG_BYTES <= len(sealed) <= MAX_SEALED_MANIFEST_BYTES:
        raise Tampered("share_manifest")
    try:
        encoded = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], associated_data)
        manifest = msgspec.json.decode(encoded, type=Manifest)
        _check(manifest, box)
    except (InvalidTag, msgspec.DecodeError, ValueError) as error:
        raise Tampered("share_manifest") from error
    if _encode(manifest) != encoded:
        raise Tampered("share_manifest")
    return manifest


def _encode(manifest: Manifest) -> bytes:
    try:
        encoded = msgspec.json.encode(manifest)
    except UnicodeEncodeError as error:
        raise Invalid("share_manifest") from error
    return encoded.ljust(padme(len(encoded)))


def _check(manifest: Manifest, box: bytes) -> None:
    """Hold what no single field says: an identifier, a file and a key occur once, a sealed file is the longer.

    The share's own box is not named.
    """
    sealed: list[ManifestDocument | ManifestPreview] = [*manifest.documents]
    sealed += [document.preview for document in manifest.documents if document.preview is not None]
    for values in zip(*((each.id, each.file, each.key) for each in sealed), strict=True):
        if len(set(values)) != len(values):
            raise ValueError("a document, file or key occurs twice")
    if any(each.sealed_length <= each.length for each in sealed):
        raise ValueError("a sealed file is shorter than its content")
    if any(each.box == box.hex() for each in sealed):
        raise ValueError("the share's own box is named")
