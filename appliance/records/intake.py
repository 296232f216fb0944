"""A document's bytes on their way in: checked, sealed and written in batches, with bounded memory.

The event loop fills one batch while a file thread checks, seals and writes the other one. The plaintext lives in
these two buffers only; nothing of it is ever written.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from mmap import MAP_PRIVATE, mmap

from appliance.contracts.values import MAX_DOCUMENT_BYTES, MediaType
from appliance.core.errors import Invalid, Unavailable
from appliance.formats.envelope import DocumentSealer
from appliance.records.media_types import LONGEST_SIGNATURE_BYTES, may_contain, starts_as
from appliance.records.sealed_files import IncomingFile
from appliance.records.threads import on_thread

BATCH_BYTES = 512 * 1024
#: A sender that is silent for so long is given up, so that it cannot hold a place for ever.
IDLE_TIMEOUT_S = 60.0


class ContentCheck:
    """Holds content against its media type and the greatest size; `with_digest` to tell a repetition."""

    def __init__(self, media_type: MediaType, *, with_digest: bool) -> None:
        self._media_type = media_type
        self._with_digest = with_digest
        self._first_bytes = b""
        self._digest = hashlib.sha256()
        self.length = 0

    def take(self, piece: memoryview) -> None:
        """Take the next content; Invalid("document_size"), Invalid("document_type")."""
        self.length += len(piece)
        if self.length > MAX_DOCUMENT_BYTES:
            raise Invalid("document_size", max_bytes=MAX_DOCUMENT_BYTES)
        if len(self._first_bytes) < LONGEST_SIGNATURE_BYTES:
            self._first_bytes += bytes(piece[:LONGEST_SIGNATURE_BYTES])
            if len(self._first_bytes) >= LONGEST_SIGNATURE_BYTES:
                self._check_start()
        if not may_contain(self._media_type, piece):
            raise Invalid("document_type")
        if self._with_digest:
            self._digest.update(piece)

    def finish(self) -> bytes:
        """Give the SHA-256 of the content if asked for; Invalid("document_empty") if there was no content."""
        if not self.length:
            raise Invalid("document_empty")
        self._check_start()
        return self._digest.digest()

    def _check_start(self) -> None:
        if not starts_as(self._media_type, self._first_bytes):
            raise Invalid("document_type")


class Sealing:
    """Checks, seals and writes; called with one batch at a time on a file thread."""

    def __init__(self, check: ContentCheck, sealer: DocumentSealer, file: IncomingFile) -> None:
        self._check = check
        self._sealer = sealer
        self._file = file
        self._header = sealer.header()

    def take(self, batch: memoryview) -> None:
        """Take the next content; the first brings the file's header with it."""
        self._check.take(batch)
        self._file.write(self._header + self._sealer.seal(batch))
        self._header = b""

    def finish(self) -> bytes:
        """Write the rest and give the SHA-256 of the content; the file is whole, not yet in its place."""
        content_sha256 = self._check.finish()
        for sealed in self._sealer.finish():
            self._file.write(sealed)
        return content_sha256


async def receive(
    pieces: AsyncIterator[memoryview],
    take: Callable[[memoryview], None],
    finish: Callable[[], bytes],
    files: Executor,
) -> bytes:
    """Pass all pieces to `take` in batches on the file threads, then call `finish` there and give its result.

    When this raises, no call is still running: the file may be discarded.
    """
    # Fresh memory of the kernel: a small document touches only the pages that it fills (mmap(2)).
    first, second = (memoryview(mmap(-1, BATCH_BYTES, MAP_PRIVATE)) for _ in range(2))
    batches, filled = (first, second), 0
    running: asyncio.Future[None] | None = None
    try:
        async for piece in _while_not_idle(pieces):
            while piece:
                part = piece[: BATCH_BYTES - filled]
                batches[0][filled : filled + len(part)] = part
                filled, piece = filled + len(part), piece[len(part) :]
                if filled == BATCH_BYTES:
                    if running is not None:
                        await running
                    running = asyncio.ensure_future(on_thread(files, take, batches[0]))
                    batches, filled = batches[::-1], 0
        if running is not None:
            await running
        return await on_thread(files, _take_last, take, batches[0][:filled], finish)
    finally:
        if running is not None:
            await asyncio.gather(running, return_exceptions=True)


def _take_last(take: Callable[[memoryview], None], batch: memoryview, finish: Callable[[], bytes]) -> bytes:
    if batch:
        take(batch)
    return finish()


async def _while_not_idle(pieces: AsyncIterator[memoryview]) -> AsyncIterator[memoryview]:
    while True:
        try:
            async with asyncio.timeout(IDLE_TIMEOUT_S):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Unavailable("stream_idle") from error
        yield piece
