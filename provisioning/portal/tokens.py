"""Tokens for work connections: 128 bits, single use, gone after TOKEN_LIFETIME_S. Pure: `now` is an argument.

A token belongs to one login of one box, not to the box: boxes.py takes none of a login that is closed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from appliance.formats.tunnel_control import TOKEN_BYTES, TOKEN_LIFETIME_S

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class _Issued(Generic[Owner]):
    owner: Owner
    expires_at: float


class Tokens(Generic[Owner]):
    """All tokens that are out, oldest first."""

    def __init__(self) -> None:
        self._issued: dict[bytes, _Issued[Owner]] = {}

    def issue(self, owner: Owner, now: float) -> bytes:
        """Give a fresh token for `owner`."""
        token = secrets.token_bytes(TOKEN_BYTES)
        self._issued[token] = _Issued(owner, now + TOKEN_LIFETIME_S)
        return token

    def redeem(self, token: bytes, now: float) -> Owner | None:
        """Take a token back and give its owner; None for a used, expired or unknown one."""
        issued = self._issued.get(token)
        if issued is None or now >= issued.expires_at:
            return None
        del self._issued[token]
        return issued.owner

    def expire(self, now: float) -> list[Owner]:
        """Drop the expired tokens and give their owners, one entry for each token."""
        owners: list[Owner] = []
        for token, issued in list(self._issued.items()):
            if now < issued.expires_at:
                break  # they were issued in this order
            del self._issued[token]
            owners.append(issued.owner)
        return owners

    def __len__(self) -> int:
        return len(self._issued)
