"""de.praxissafe.Certificate: how the page's certificate is, and its renewal. The key is gateway's."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from appliance.contracts.values import Seconds
from appliance.core.varlink import Call, Done, Interface

#: What certificate does at the moment.
StepName = Literal["none", "portal", "account", "order", "challenge", "finalize", "download", "revoke"]


class CertificateState(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The page's certificate. Times in unix seconds; 0: not known, or none.

    `state`: none (patients cannot be served), valid, expired; `step` is what goes on, "none" while it waits for
    `next_attempt_at`. `last_problem` is the code of the last attempt, "" if it went well: authority_unreachable,
    authority_certificate, authority_busy, authority_failed, rate_limited, account_refused, order_refused,
    challenge_failed, challenge_missing, caa, or a code of PageKey or Gateway. `replacing`: a new key has no
    certificate yet; `revoking`: the
    old key's certificate is not revoked yet. `account` is the address (URI) of this box's account at the authority,
    for a CAA record; "" until the authority has said it.
    """

    state: Literal["none", "valid", "expired"]
    step: StepName
    not_before: Seconds
    not_after: Seconds
    next_attempt_at: Seconds
    last_problem: str
    last_problem_at: Seconds
    replacing: bool
    revoking: bool
    directory: str
    account: str


class ReadState(Call[CertificateState]):
    """Say how the certificate is."""

    reply: ClassVar = CertificateState
    callers: ClassVar = frozenset({"practice", "root", "watch"})


class Renew(Call[Done]):
    """Begin to renew now; ReadState tells how it goes. Unavailable("rate_limited") while the authority said so."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice", "root"})


class ReplaceKey(Call[Done]):
    """Make a new page key now, then ask for its certificate, then have the old one revoked (keyCompromise).

    Done when the new key is made; ReadState tells how the rest goes. Until it has its certificate the old one serves.
    """

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})


CERTIFICATE = Interface.of("de.praxissafe.Certificate", __file__, ReadState, Renew, ReplaceKey)
