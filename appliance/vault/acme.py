"""ACME requests as vault makes them: an account key for each authority, and a JWS around what a verb says. Pure.

The key is derived from the origin of the url that is signed (FIPS 186-5 appendix A.2.1: 128 bits more than the order
has, so the bias is nothing). Rule: nothing is signed that vault did not build itself.
Sources: RFC 8555 section 6.2, RFC 7515 (JWS, flattened), RFC 7518 section 3.4 (ES256), RFC 7638.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.core.errors import Invalid
from appliance.formats.acme import base64url, origin_of

CONTEXT = b"praxissafe acme account 1\0"
SCALAR_BYTES = 48
COORDINATE_BYTES = 32
#: The order of P-256 (SP 800-186 section 3.2.1.3).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Account:
    """This box's account at one authority."""

    def __init__(self, acme_accounts: bytes, url: str) -> None:
        """Derive it for the origin of `url`; Invalid("url")."""
        self.origin = origin_of(url)
        info = CONTEXT + self.origin.encode("ascii")
        wide = int.from_bytes(HKDF(SHA256(), SCALAR_BYTES, salt=None, info=info).derive(acme_accounts), "big")
        self._key = ec.derive_private_key(wide % (ORDER - 1) + 1, ec.SECP256R1())

    @property
    def jwk(self) -> dict[str, str]:
        """The public key, its members in the order that RFC 7638 hashes them."""
        point = self._key.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(COORDINATE_BYTES, "big")) for number in (point.x, point.y))
        return {"crv": "P-256", "kty": "EC", "x": x, "y": y}

    @property
    def thumbprint(self) -> str:
        """SHA-256 of the public key (RFC 7638), base64url."""
        return base64url(hashlib.sha256(_json(self.jwk)).digest())

    def sign(self, url: str, nonce: str, payload: dict[str, Any] | None, account: str | None) -> bytes:
        """Give the JWS for `url` as JSON; `payload` None is POST-as-GET, `account` None names the key itself.

        Invalid("url") for an account at another authority.
        """
        if account is not None and origin_of(account) != self.origin:
            raise Invalid("url")
        who = {"jwk": self.jwk} if account is None else {"kid": account}
        protected = base64url(_json({"alg": "ES256", **who, "nonce": nonce, "url": url}))
        content = "" if payload is None else base64url(_json(payload))
        r, s = decode_dss_signature(self._key.sign(f"{protected}.{content}".encode("ascii"), ec.ECDSA(SHA256())))
        signature = r.to_bytes(COORDINATE_BYTES, "big") + s.to_bytes(COORDINATE_BYTES, "big")
        return _json({"protected": protected, "payload": content, "signature": base64url(signature)})


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
