"""Blocking work on a thread, never left behind: whoever is cancelled still waits until the thread has let go.

So a file may be closed as soon as the wait is over; a descriptor that is closed while a thread writes to it could
by then be another file's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, wait
from typing import ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


async def on_thread(
    executor: Executor, work: Callable[Arguments, Result], *values: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Do `work(*values)` on a thread of `executor` and give its result."""
    running = executor.submit(work, *values, **named)
    try:
        return await asyncio.wrap_future(running)
    except asyncio.CancelledError:
        running.cancel()
        wait([running])  # at most one batch or one sync
        raise
