"""de.praxissafe.PageKey: vault's word on the page's certificate: which keys are the page's, and what ACME is told.

vault makes each ACME request itself, whole (RFC 8555), from what a verb says: none signs given bytes.
Each authority (the origin of `url`) knows this box by an account key of its own, so what is signed for one says
nothing to another. Verbs that sign: Invalid("url") for anything but https, Invalid("nonce").
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from appliance.contracts.values import Seconds
from appliance.core.varlink import Call, Done, Interface

MAX_PAGE_KEYS = 16
_BY_CERTIFICATE = frozenset({"certificate"})

#: https://host[:port]/path as the authority gave it.
Url = Annotated[str, msgspec.Meta(min_length=9, max_length=512)]
#: base64url, as the authority gave it (RFC 8555 section 6.5.1).
Nonce = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,256}$")]
#: SubjectPublicKeyInfo, DER, of a key on P-256.
PublicKey = Annotated[bytes, msgspec.Meta(min_length=59, max_length=128)]
Der = Annotated[bytes, msgspec.Meta(min_length=1, max_length=16384)]


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


class RegisterPageKey(Call[Done]):
    """Make this the page's key; the last 16 are remembered. One that is known already changes nothing.

    Invalid("page_key") for anything but a point on P-256.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"gateway"})

    public_key: PublicKey


class PageKey(Struct):
    """A key of the page, and since when vault knows it."""

    public_key: bytes
    since: Seconds


class PageKeys(Struct):
    """The page's keys, the present one first; and the one name that certificates for them are asked for."""

    page_host: str
    keys: list[PageKey]


class ListPageKeys(Call[PageKeys]):
    """Name the page's keys: any other in a certificate for this name is somebody else's."""

    reply: ClassVar = PageKeys
    callers: ClassVar = frozenset({"practice", "watch"})


class AcmeAccount(Struct):
    """The account's key as a thumbprint (RFC 7638): base64url, 43 characters."""

    thumbprint: str


class ReadAcmeAccount(Call[AcmeAccount]):
    """Give the thumbprint of this box's account at the authority of `url`."""

    reply: ClassVar = AcmeAccount
    callers: ClassVar = frozenset({"gateway"})

    url: Url


class SignedRequest(Struct):
    """A JWS in flattened JSON (RFC 7515 section 7.2.2), to be posted to its url and nowhere else."""

    body: bytes


class SignAcmeAccount(Call[SignedRequest]):
    """newAccount (RFC 8555 section 7.3): agrees to the terms of service and gives no contact."""

    reply: ClassVar = SignedRequest
    callers: ClassVar = _BY_CERTIFICATE

    url: Url
    nonce: Nonce


class SignAcmeOrder(Call[SignedRequest]):
    """newOrder (section 7.4) for this box's name, and no other. `profile`: of the authority's, "" for none."""

    reply: ClassVar = SignedRequest
    callers: ClassVar = _BY_CERTIFICATE

    url: Url
    nonce: Nonce
    account: Url
    profile: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{0,32}$")]


class SignAcmeRead(Call[SignedRequest]):
    """POST-as-GET (section 6.3): read an order, an authorisation, a certificate."""

    reply: ClassVar = SignedRequest
    callers: ClassVar = _BY_CERTIFICATE

    url: Url
    nonce: Nonce
    account: Url


class SignAcmeChallenge(Call[SignedRequest]):
    """Say that a challenge is answered (section 7.5.1)."""

    reply: ClassVar = SignedRequest
    callers: ClassVar = _BY_CERTIFICATE

    url: Url
    nonce: Nonce
    account: Url


class SignAcmeFinalize(Call[SignedRequest]):
    """Finalize (section 7.4) with a certificate request (PKCS #10, DER).

    Refused("page_request") unless it is for this box's name alone and for the page's present key, signed by that key.
    """

    reply: ClassVar = SignedRequest
    callers: ClassVar = _BY_CERTIFICATE

    url: Url
    nonce: Nonce
    account: Url
    request: Der


class SignAcmeRevocation(Call[SignedRequest]):
    """revokeCert (section 7.6) for the reason keyCompromise.

    Refused("page_certificate") unless the certificate's key was the page's and is it no more.
    """

    reply: ClassVar = SignedRequest
    callers: ClassVar = _BY_CERTIFICATE

    url: Url
    nonce: Nonce
    account: Url
    certificate: Der


PAGE_KEY = Interface.of(
    "de.praxissafe.PageKey",
    __file__,
    RegisterPageKey,
    ListPageKeys,
    ReadAcmeAccount,
    SignAcmeAccount,
    SignAcmeOrder,
    SignAcmeRead,
    SignAcmeChallenge,
    SignAcmeFinalize,
    SignAcmeRevocation,
)
