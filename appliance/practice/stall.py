"""A limit for one step of a transfer: whoever sends or takes nothing for so long has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def within(stall_timeout_s: float, step: Awaitable[Result]) -> Result:
    """Await one step; ConnectionResetError when it takes too long."""
    try:
        async with asyncio.timeout(stall_timeout_s):
            return await step
    except TimeoutError:
        raise ConnectionResetError from None
