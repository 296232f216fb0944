"""The share link: one secret in a URL's fragment, and the three values that follow from it.

Layout: docs/formats/share-link.md. The secret S never travels to a server: a browser does not send the fragment.
From S follow the locator (gateway: a folder name), the proof (vault keeps its SHA-256) and the wrap key (half of
what opens the manifest; vault's r is the other half). None of the three tells another one or S.

Rules: one version byte decides suite and sizes, nothing is negotiated; a text that is not exactly what
`format_secret` writes is Invalid. Secrets are left out of `repr`.

Not here: r, PIN, tries and expiry (vault).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.core.errors import Invalid

VERSION = 1
SECRET_BYTES = 32
LOCATOR_BYTES = 16
PROOF_BYTES = 32
WRAP_KEY_BYTES = 32
RELEASE_BYTES = 32
MANIFEST_KEY_BYTES = 32
SECRET_TEXT_LENGTH = 44
CONTEXT = b"praxissafe share 1 "

_SECRET_TEXT = re.compile(r"[A-Za-z0-9_-]{44}\Z")
_HOST_WITH_PORT = re.compile(
    r"(?=[a-z0-9.-]{1,253}(:|\Z))[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*"
    r"(:[1-9][0-9]{0,4})?\Z"
)


@dataclass(frozen=True)
class ShareKeys:
    """What follows from S."""

    locator: str = field(repr=False)
    proof: bytes = field(repr=False)
    wrap_key: bytes = field(repr=False)


def format_secret(secret: bytes) -> str:
    """Return S as it stands in the fragment: base64url of version byte and secret, without padding (33 bytes)."""
    if len(secret) != SECRET_BYTES:
        raise Invalid("share_secret")
    return base64.urlsafe_b64encode(bytes((VERSION,)) + secret).decode("ascii")


def parse_secret(text: str) -> bytes:
    """Return the 32 secret bytes; Invalid for another version or any other spelling."""
    if not _SECRET_TEXT.match(text):
        raise Invalid("share_secret")
    try:
        decoded = base64.urlsafe_b64decode(text)
    except binascii.Error as error:
        raise Invalid("share_secret") from error
    if decoded[0] != VERSION:
        raise Invalid("share_version")
    return decoded[1:]


def format_link(host_with_port: str, secret: bytes) -> str:
    """Return the link; path and query are constant, so that nothing of a share is in them."""
    if not _HOST_WITH_PORT.match(host_with_port):
        raise Invalid("share_host")
    return f"https://{host_with_port}/#{format_secret(secret)}"


def derive(secret: bytes) -> ShareKeys:
    """Derive everything a link's holder needs from the 32 secret bytes."""
    if len(secret) != SECRET_BYTES:
        raise Invalid("share_secret")
    return ShareKeys(
        locator=_expand(secret, b"locator", LOCATOR_BYTES).hex(),
        proof=_expand(secret, b"proof", PROOF_BYTES),
        wrap_key=_expand(secret, b"wrap", WRAP_KEY_BYTES),
    )


def proof_verifier(proof: bytes) -> bytes:
    """Return what vault keeps: it recognises the proof and does not give it away."""
    if len(proof) != PROOF_BYTES:
        raise Invalid("share_proof")
    return hashlib.sha256(proof).digest()


def manifest_key(wrap_key: bytes, release: bytes) -> bytes:
    """Return the key of the manifest from both halves: the link's `wrap_key` and vault's r (`release`)."""
    if len(wrap_key) != WRAP_KEY_BYTES or len(release) != RELEASE_BYTES:
        raise Invalid("share_key")
    return _expand(wrap_key + release, b"manifest", MANIFEST_KEY_BYTES)


def _expand(key_material: bytes, label: bytes, length: int) -> bytes:
    # No salt is the empty salt of RFC 5869 section 2.2; WebCrypto is given zero bytes and means the same.
    return HKDF(SHA256(), length, salt=None, info=CONTEXT + label).derive(key_material)
