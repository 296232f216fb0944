"""Shares: when one may be opened, and what a try costs. Pure.

The caller keeps the state, reads the clock and asks audit.

Rules (docs/formats/vault-state.md has the drawing): expiry comes first. A try is taken before the PIN is compared,
and the caller syncs that; a right PIN gives back that one try and no earlier one; after the fifth wrong one `r` is
destroyed. Whatever ends a share destroys `r` and PIN; the rest stays 90 days, so that the holder of the link can be
told. Whom `r` may be given to, and the audit entry before it, is the answer's part (share_answers.py).
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from appliance.core.errors import Invalid, NotFound, Refused, Unavailable

TRIES = 5
UNPUBLISHED_S = 3600
TOMBSTONE_S = 90 * 86400
#: 200 a day, live for 14 days and remembered for 90, and twice as many.
MAX_SHARES = 40_000

Stage = Literal["made", "open", "expired", "revoked", "closed"]
Event = Literal["publish", "expire", "revoke", "close"]


class Share(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One share. `made_by` is the member of staff who may read the PIN; `r`, PIN and verifier end with the share."""

    share: str
    proof_verifier: bytes
    patient: str
    documents: list[str]
    made_by: str
    made_at: int
    expires_at: int
    pin_verifier: bytes | None
    pin: str | None
    r: bytes | None
    stage: Stage = "made"
    tries_left: int = TRIES
    opened: int = 0
    last_opened_at: int = 0
    #: When the last try was taken, right or wrong; 0: never, or by a release that did not note it.
    last_try_at: int = 0
    ended_at: int = 0

    def __repr__(self) -> str:
        return f"Share({self.stage}, tries_left={self.tries_left})"


Shares = Mapping[str, Share]


def put(shares: Shares, *changed: Share) -> dict[str, Share]:
    """Give the shares with these put in."""
    return {**shares, **{share.share: share for share in changed}}


def add(shares: Shares, share: Share) -> dict[str, Share]:
    """Add a new one. Invalid("share_exists") for a known proof, Unavailable("shares_full")."""
    if any(known.proof_verifier == share.proof_verifier for known in shares.values()):
        raise Invalid("share_exists")
    if len(shares) >= MAX_SHARES:
        raise Unavailable("shares_full", limit=MAX_SHARES)
    return put(shares, share)


def get(shares: Shares, share: str) -> Share:
    """Give the share of this id, whatever its stage; NotFound("share")."""
    if share not in shares:
        raise NotFound("share")
    return shares[share]


def find(shares: Shares, proof_verifier: bytes) -> Share:
    """Give the published share of this proof; NotFound("share").

    The comparison may be plain: it is of hashes of 256-bit secrets, which nobody can walk towards.
    """
    for share in shares.values():
        if share.proof_verifier == proof_verifier and share.stage != "made":
            return share
    raise NotFound("share")


def notice(share: Share, now: int) -> Share:
    """Give the share as it is at `now`: expired if its time is over, closed if a crash ate the last try."""
    if share.stage in ("made", "open") and now >= share.expires_at:
        return _move(share, "expire", now)
    if share.stage == "open" and share.tries_left == 0:
        return _move(share, "close", now)
    return share


def publish(share: Share, now: int) -> Share:
    """From now on it can be opened; a second time changes nothing."""
    share = notice(share, now)
    return _move(share, "publish", now) if share.stage == "made" else share


def take_try(share: Share, now: int) -> Share:
    """Give the share with one try less. It took one exactly if the stage is still "open"."""
    share = notice(share, now)
    if share.stage != "open":
        return share
    return replace(share, tries_left=share.tries_left - 1, last_try_at=now)


def pin_is_right(share: Share, pin_verifier: bytes) -> bool:
    """Compare in constant time."""
    return share.pin_verifier is not None and hmac.compare_digest(share.pin_verifier, pin_verifier)


def give_back_try(share: Share, now: int) -> Share:
    """The PIN was right: give back the try it took. Unchanged if the share was ended meanwhile."""
    if share.stage != "open" or now >= share.expires_at:
        return share
    return replace(share, tries_left=min(TRIES, share.tries_left + 1), opened=share.opened + 1, last_opened_at=now)


def count_wrong(share: Share, now: int) -> Share:
    """The PIN was wrong: the try stays taken; the last one closes the share."""
    return notice(share, now)


def revoke(share: Share, now: int) -> Share:
    """End it; unchanged if it has ended already."""
    share = notice(share, now)
    return _move(share, "revoke", now) if share.stage in ("made", "open") else share


def naming(shares: Shares, document: str) -> list[str]:
    """Give the shares that could still be opened and name this document."""
    return [share.share for share in shares.values() if share.r is not None and document in share.documents]


def requested_since(shares: Shares, since: int, *, every: bool) -> list[str]:
    """Give the shares that were tried or opened from `since` on, or all of them with `every`.

    Those that can be opened, and those that were revoked since: asked again, nothing is left out. A wrong try that a
    release before did not date counts.
    """
    return [
        share.share
        for share in shares.values()
        if (share.stage == "open" or (share.stage == "revoked" and share.ended_at >= since))
        and (every or _last_request(share) >= since or _is_undated(share))
    ]


def read_pin(share: Share, principal: str) -> str:
    """Give the PIN to print. Refused("pin_not_yours"), Refused("pin_printed")."""
    if share.made_by != principal:
        raise Refused("pin_not_yours")
    if share.pin is None:
        raise Refused("pin_printed")
    return share.pin


def confirm_pin(share: Share, principal: str) -> Share:
    """Forget the PIN, keep its verifier. Refused("pin_not_yours")."""
    if share.made_by != principal:
        raise Refused("pin_not_yours")
    return replace(share, pin=None) if share.pin is not None else share


def settle(shares: Shares, now: int, *, starting: bool = False) -> Shares:
    """Do what time does: expire, close, forget. At a start, what was never published is forgotten at once."""
    kept = {}
    for share in shares.values():
        noticed = notice(share, now)
        if noticed.stage == "made" and (starting or now >= noticed.made_at + UNPUBLISHED_S):
            continue
        if noticed.ended_at and now >= noticed.ended_at + TOMBSTONE_S:
            continue
        kept[share.share] = noticed
    unchanged = len(kept) == len(shares) and all(kept[name] is shares[name] for name in kept)
    return shares if unchanged else kept


def newest_first(shares: Iterable[Share]) -> list[Share]:
    """Give them in the order of a list that people read."""
    return sorted(shares, key=lambda share: (share.made_at, share.share), reverse=True)


def _last_request(share: Share) -> int:
    return max(share.last_try_at, share.last_opened_at)


def _is_undated(share: Share) -> bool:
    return not share.last_try_at and share.tries_left < TRIES


def _move(share: Share, event: Event, now: int) -> Share:
    stage = NEXT[share.stage, event]
    if stage == "open":
        return replace(share, stage=stage)
    return replace(share, stage=stage, ended_at=now, r=None, pin=None, pin_verifier=None)


#: (stage, event) -> stage. "expired", "revoked" and "closed" are ends.
NEXT: dict[tuple[Stage, Event], Stage] = {
    ("made", "publish"): "open",
    ("made", "expire"): "expired",
    ("made", "revoke"): "revoked",
    ("open", "expire"): "expired",
    ("open", "revoke"): "revoked",
    ("open", "close"): "closed",
}
