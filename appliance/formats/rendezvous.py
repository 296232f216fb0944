"""Which relays a box belongs to: highest random weight, so that box and front choose alike without asking anyone.

Each relay's weight for a box is a hash of both; a box takes those with the highest. When a relay goes, only its own
boxes move; when one comes, it takes an even part from all others. Pure.

Source: Thaler, Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", IEEE/ACM ToN 6(1), 1998.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

RELAYS_PER_BOX = 2


def choose_relays(box: bytes, relays: Collection[str], count: int = RELAYS_PER_BOX) -> list[str]:
    """Give `count` of `relays` (host:port, each once) for a box, the first choice first; fewer if there are fewer."""
    return sorted(set(relays), key=lambda relay: (_weight(box, relay), relay), reverse=True)[:count]


def _weight(box: bytes, relay: str) -> bytes:
    return hashlib.sha256(relay.encode() + b"\0" + box).digest()
