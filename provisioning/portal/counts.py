"""What the portal says about itself: numbers, once a minute, on standard error.

Rule (docs/threats.md): no address of a patient, no host name, no box id. `Counts` has no field that could hold one.
The one line beside them, the alarm at a duplicate, is registration.py's.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass


@dataclass
class Counts:
    """Since the start, except what is now: the four with that name, and the number and state of the boxes' file."""

    connections_now: int = 0
    relays_now: int = 0
    boxes_now: int = 0
    draining_now: int = 0
    connections: int = 0
    relays: int = 0
    relayed_bytes: int = 0
    unknown_names: int = 0
    absent_boxes: int = 0
    malformed: int = 0
    over_limit: int = 0
    timeouts: int = 0
    proofs_accepted: int = 0
    proofs_refused: int = 0
    tokens_refused: int = 0
    devices_registered: int = 0
    devices_refused: int = 0
    duplicates_refused: int = 0
    devices_revoked: int = 0
    checkpoints: int = 0
    broken_connections: int = 0
    passed_on: int = 0
    accepted_number: int = 0
    accepted_expired: int = 0
    accepted_refused: int = 0
    lease_failures: int = 0

    def line(self) -> str:
        """Give every count that is not zero as one line."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items() if value)

    def say(self) -> None:
        """Write the line to standard error."""
        print(f"portal {self.line()}", file=sys.stderr, flush=True)
