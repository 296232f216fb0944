"""Gives memory that a process no longer uses back to the kernel (malloc_trim(3)).

The C library keeps what is freed in the middle of its heap, page by page, for as long as the process lives. A process
that takes and frees large buffers (256 KiB for every TLS connection) ends up with the heap of its busiest minute:
some 20 MB for practice, bounded, and of no use to anybody. A fixed threshold for separate pages (mallopt(3),
M_MMAP_THRESHOLD) would do the same and doubles the processor time of every upload (docs/decisions/spare-memory.md).
"""

from __future__ import annotations

import asyncio
import ctypes

PERIOD_S = 10.0


async def give_back_spare_memory() -> None:
    """Give back what is free, every PERIOD_S, until cancelled; the loop waits for it, 4 ms for 30 MB of holes."""
    trim = ctypes.CDLL(None).malloc_trim
    while True:
        await asyncio.sleep(PERIOD_S)
        trim(0)
