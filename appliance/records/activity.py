"""Whether documents are coming in: what nobody waits for is done when it is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

LOOK_PERIOD_S = 0.25


class Activity:
    """Documents on their way in, and when the last one was stored."""

    def __init__(self) -> None:
        self._count = 0
        self._ended_at = float("-inf")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Count one as coming in."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._ended_at = asyncio.get_running_loop().time()

    async def wait_for_quiet(self, pause_s: float, at_most_s: float) -> None:
        """Wait until none has come in for `pause_s`, but at most `at_most_s`: a steady stream stops nothing."""
        time = asyncio.get_running_loop().time
        give_up_at = time() + at_most_s
        while time() < give_up_at and (self._count or time() - self._ended_at < pause_s):  # noqa: ASYNC110 (nothing tells)
            await asyncio.sleep(LOOK_PERIOD_S)
