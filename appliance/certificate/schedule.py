"""When the certificate is renewed, and how long to wait after a failure. Pure: chance and time are arguments.

A third of its life is left for an authority that is away; jitter, so that boxes do not come all at once.
Sources: Let's Encrypt, "Integration Guide"; Brooker, "Exponential Backoff And Jitter", 2015.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

RENEW_AFTER = 2 / 3
JITTER = 1 / 20
MAX_DOUBLINGS = 16
#: Where the authority limits and does not say for how long.
RATE_LIMITED_S = 3600.0
MAX_RETRY_AFTER_S = 7 * 86400.0


def renew_at(not_before: int, not_after: int, chance: float) -> int:
    """Give when to renew (unix seconds); `chance` is uniform in [0, 1)."""
    lifetime = not_after - not_before
    return not_before + int(lifetime * (RENEW_AFTER + chance * JITTER))


def wait_s(failures: int, first_s: float, cap_s: float, chance: float, at_least_s: float) -> float:
    """Give the seconds to wait after `failures` in a row (1 or more): half of the step to all of it."""
    step = min(cap_s, first_s * 2.0 ** min(failures - 1, MAX_DOUBLINGS))
    return at_least_s + step * (0.5 + chance / 2)


def retry_after_s(header: str, now: float) -> float:
    """Give what a Retry-After header says in seconds from now, 0 for none or nonsense (RFC 9110 section 10.2.3)."""
    if header.isascii() and header.isdecimal():
        wait = float(header[:9])
    else:
        try:
            wait = parsedate_to_datetime(header).timestamp() - now
        except (TypeError, ValueError, OverflowError):
            return 0.0
    return min(max(wait, 0.0), MAX_RETRY_AFTER_S)
