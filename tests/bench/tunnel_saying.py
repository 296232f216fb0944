"""How the bench's own processes speak: JSON lines out, and an end when their input ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Coroutine


def say(**fields: object) -> None:
    """Write one line."""
    print(json.dumps(fields), flush=True)


async def until_input_ends(running: Coroutine[None, None, None]) -> None:
    """Run until standard input ends."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    task = asyncio.ensure_future(running)
    waiting = asyncio.ensure_future(ended.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
