"""What of ACME more than one process must agree on: an authority's origin, a key authorisation. Pure.

Sources: RFC 8555 sections 6.4 and 8.1, RFC 7638 (thumbprint), RFC 8737 (TLS-ALPN-01).
"""

from __future__ import annotations

import base64
import hashlib
import re

from appliance.core.errors import Invalid

#: The one protocol that a challenge's certificate is served for (RFC 8737 section 6.2).
CHALLENGE_PROTOCOL = b"acme-tls/1"

_URL = re.compile(r"https://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?(?:/[\x21-\x7e]*)?\Z")


def base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def origin_of(url: str) -> str:
    """Give `https://host` or `https://host:port`, lower case, without the port if it is 443; else Invalid("url")."""
    match = _URL.match(url)
    if match is None or "#" in url:
        raise Invalid("url")
    host, port = match[1].lower(), int(match[2] or 443)
    if not 1 <= port <= 65535:
        raise Invalid("url")
    return f"https://{host}" if port == 443 else f"https://{host}:{port}"


def challenge_digest(token: str, thumbprint: str) -> bytes:
    """Give what a challenge's certificate carries: SHA-256 of the key authorisation."""
    return hashlib.sha256(f"{token}.{thumbprint}".encode("ascii")).digest()
