"""Who may take how much: per address, per second. In memory only, and never written. Pure: `now` is an argument.

An address is what one patient's line has: an IPv4 address, or the first 64 bits of an IPv6 one. Many patients may
share an IPv4 address (carrier-grade NAT), so the limits per address are wide; they keep one line from taking all.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

#: Up to this many addresses are remembered for `Rates`; beyond it those are forgotten that have rested longest.
MAX_ADDRESSES = 65_536
BURST_S = 4.0
IPV6_NETWORK_BYTES = 8


def line_of(address: str) -> bytes:
    """Give what identifies the line an IP address belongs to."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        return parsed.ipv4_mapped.packed if parsed.ipv4_mapped else parsed.packed[:IPV6_NETWORK_BYTES]
    return parsed.packed


class Shares:
    """How many connections each line holds."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[bytes] = Counter()

    def take(self, line: bytes) -> bool:
        """Take one; False at the limit."""
        if self._held[line] >= self._limit:
            return False
        self._held[line] += 1
        return True

    def give_back(self, line: bytes) -> None:
        """Give one back."""
        self._held[line] -= 1
        if not self._held[line]:
            del self._held[line]

    def __len__(self) -> int:
        return len(self._held)


class Rates:
    """How often each line may do something: `per_s`, and BURST_S of that at once after a rest."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._free_at: dict[bytes, float] = {}  # by when all that was taken is paid for; oldest use first

    def take(self, line: bytes, now: float) -> bool:
        """Take one turn; False when too many were taken."""
        free_at = max(self._free_at.pop(line, now), now)
        allowed = free_at - now <= BURST_S - 1 / self._per_s
        self._free_at[line] = free_at + 1 / self._per_s if allowed else free_at
        if len(self._free_at) > MAX_ADDRESSES:
            del self._free_at[next(iter(self._free_at))]
        return allowed


class Turns:
    """All logins together: `per_s` of them; who comes too early is told when it is its turn."""

    def __init__(self, per_s: float, longest_wait_s: int = 30) -> None:
        self._per_s = per_s
        self._longest_wait_s = longest_wait_s
        self._free_at = 0.0
        self._booked_at = 0.0

    def wait_s(self, now: float) -> int:
        """Take a turn and give 0, or give the whole seconds after which to come again."""
        self._free_at = max(self._free_at, now)
        if self._free_at - now <= 1.0 - 1 / self._per_s:
            self._free_at += 1 / self._per_s
            return 0
        self._booked_at = max(self._booked_at, now) + 1 / self._per_s
        return min(1 + int(self._booked_at - now), self._longest_wait_s)
