"""de.praxissafe.Gateway: a patient's connection arrives; the page's certificate is asked for and taken.

There is no verb that lists or reads anything of a share. The page's key never leaves; what certificate gets and
brings is public.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from appliance.contracts.page_key import Url
from appliance.contracts.values import Seconds
from appliance.core.varlink import Call, Done, Interface

MAX_CHAIN_BYTES = 64 * 1024
_BY_CERTIFICATE = frozenset({"certificate"})


class TakeConnection(Call[Done]):
    """Take one connected TCP socket or one end of an unnamed AF_UNIX stream pair (the passed descriptor).

    On it come the relay's PROXY header and the patient's TLS, which ends here.

    Unavailable("full") when gateway serves as many as it may: the caller closes its copy.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"tunnel"})
    descriptors: ClassVar = 1


class PageRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The certificate request for the page's present key (PKCS #10, DER), and the certificate that is served now.

    `needed`: none is served for that key. `not_before`, `not_after`: of the certificate that is served, whichever key
    it is for; 0 if there is none. `replaced`: the last certificate (DER) of a key that was replaced, until
    NoteRevoked or until it has ended; empty otherwise.
    """

    request: bytes
    needed: bool
    not_before: Seconds
    not_after: Seconds
    replaced: bytes


class ReadPageRequest(Call[PageRequest]):
    """Read what is to be asked of the authority."""

    reply: ClassVar = PageRequest
    callers: ClassVar = _BY_CERTIFICATE


class AnswerChallenge(Call[Done]):
    """Answer an authority's connections with ALPN acme-tls/1 (RFC 8737) for some minutes, or until a chain is taken.

    The answer is for this box's own account at the authority of `url`, whoever made up the token.
    """

    reply: ClassVar = Done
    callers: ClassVar = _BY_CERTIFICATE

    token: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,256}$")]
    url: Url


class TakePageCertificate(Call[Done]):
    """Take a chain (PEM) and serve it to new connections; those that are open go on.

    Tampered("page_certificate") unless its first certificate is for the page's present key, its name and this time.
    """

    reply: ClassVar = Done
    callers: ClassVar = _BY_CERTIFICATE

    chain: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_CHAIN_BYTES)]


class MakePageKey(Call[Done]):
    """Make a new key, which is the page's present one from now on; the old one serves until a chain is taken.

    Then the old key is destroyed. Asked again before that, or before there was a certificate, it changes nothing.
    """

    reply: ClassVar = Done
    callers: ClassVar = _BY_CERTIFICATE


class NoteRevoked(Call[Done]):
    """Forget the replaced key's certificate that ReadPageRequest gave: the authority has revoked it."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_CERTIFICATE


GATEWAY = Interface.of(
    "de.praxissafe.Gateway",
    __file__,
    TakeConnection,
    ReadPageRequest,
    AnswerChallenge,
    TakePageCertificate,
    MakePageKey,
    NoteRevoked,
)
