"""How it stands with the page's certificate: one sentence with a colour. Pure; `now` is unix time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from appliance.contracts.certificate import CertificateState

#: A part of the certificate's life at which its renewal should long be done.
LATE_SHARE = 0.2


@dataclass(frozen=True)
class Standing:
    """The sentence (`page_key.standing.<key>` in the texts) and its colour."""

    tone: Literal["good", "attention", "bad"]
    key: Literal["away", "none", "expired", "replacing", "revoking", "late", "valid"]


def standing(state: CertificateState | None, now: float) -> Standing:
    """Say how it stands; None for a certificate process that does not answer."""
    if state is None:
        return Standing("attention", "away")
    if state.state == "none":
        return Standing("bad", "none")
    if state.state == "expired":
        return Standing("bad", "expired")
    if state.replacing:
        return Standing("attention", "replacing")
    if state.revoking:
        return Standing("attention", "revoking")
    left_s, life_s = state.not_after - now, state.not_after - state.not_before
    return Standing("attention", "late") if left_s < LATE_SHARE * life_s else Standing("good", "valid")
