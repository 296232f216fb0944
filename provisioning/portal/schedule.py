"""Who is due when, without asking everyone each second. Pure: `now` is an argument.

An item is due at one time only; setting another forgets the first.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Schedule(Generic[Item]):
    """Items by the time at which they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._at: dict[Item, float] = {}
        self._numbers = count()

    def put(self, item: Item, at: float) -> None:
        """Make an item due at `at`, and not at its earlier time."""
        self._at[item] = at
        heapq.heappush(self._heap, (at, next(self._numbers), item))

    def hurry(self, item: Item, at: float) -> None:
        """Make an item due at `at` unless it is due earlier already, or not at all."""
        if self._at.get(item, at) > at:
            self.put(item, at)

    def drop(self, item: Item) -> None:
        """Forget an item."""
        self._at.pop(item, None)

    def due(self, now: float) -> list[Item]:
        """Give and forget the items whose time has come."""
        items: list[Item] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, item = heapq.heappop(self._heap)
            if self._at.get(item) == at:
                del self._at[item]
                items.append(item)
        return items

    def __len__(self) -> int:
        return len(self._at)
