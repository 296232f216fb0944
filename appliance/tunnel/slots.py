"""How many connections this process may hold at once, over all relays together."""

from __future__ import annotations


class Slots:
    """Counts what is held; whoever takes one gives it back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self) -> bool:
        """Take a slot; False when none is left."""
        if self.held >= self._limit:
            return False
        self.held += 1
        return True

    def give_back(self, _: object = None) -> None:
        """Give one back."""
        self.held -= 1
