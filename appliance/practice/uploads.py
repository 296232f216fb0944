"""Streams a person's or a practice software's document to records, piece by piece, never to disk.

A form's parts come in the order of its controls: `csrf` first (nothing is read on without it), then the small fields,
then the files. Each file is stored by itself: one that is refused does not undo another. Counts and sizes are
capped; aiohttp's parser holds at most a few pieces at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http import HttpProcessingError

from appliance.contracts.records import AddDocument, AddedDocument
from appliance.contracts.values import MAX_DOCUMENT_BYTES
from appliance.core.errors import Invalid, PraxisError, Unavailable
from appliance.core.metrics import Counter
from appliance.core.varlink import WatchedPeer
from appliance.practice import fields
from appliance.practice.media_types import FIRST_BYTES, recognise
from appliance.practice.stall import within

PIECE_BYTES = 256 * 1024
MAX_FILES = 50
MAX_SMALL_PARTS = 8
MAX_SMALL_PART_BYTES = 4096
#: All files of one form together.
MAX_FORM_BYTES = 2 * 1024 * 1024 * 1024
#: What aiohttp's multipart parser raises for bad bytes; it has no failure of its own.
PARSER_FAILURES = (ValueError, AssertionError, RuntimeError, LookupError, web.HTTPException, HttpProcessingError)
#: After these nothing more of the form is read.
BROKEN_FORM = frozenset({"form", "upload_size"})
#: records may have much to sync at the end of a large document.
FINISH_TIMEOUT_S = 120.0

_kept = Counter("uploads_total", "Documents received, by how it ended.", ["kept", "refused", "broken"])


_Step = TypeVar("_Step")


@dataclass(frozen=True)
class Outcome:
    """What became of one file: stored, or the reason why not."""

    name: str
    error: PraxisError | None


class Uploads:
    """Receives documents; at most `max_uploads` at a time."""

    def __init__(self, records: WatchedPeer, *, max_uploads: int, stall_timeout_s: float) -> None:
        self._records = records
        self._max_uploads = max_uploads
        self._stall_timeout_s = stall_timeout_s
        self._running = 0

    async def receive_form(
        self, request: web.Request, session: str, patient: str, check: Callable[[str], None]
    ) -> list[Outcome]:
        """Store every file of a form; `check` is given the CSRF token and raises if it is not the session's.

        Raises Invalid: "form", "upload_size", "files_many", "file_missing", "kind", "field_long".
        """
        if (request.content_length or 0) > MAX_FORM_BYTES:
            raise Invalid("upload_size")
        with self._place():
            return await self._receive_parts(_Parts(request, self._stall_timeout_s), session, patient, check)

    async def _receive_parts(
        self, parts: _Parts, session: str, patient: str, check: Callable[[str], None]
    ) -> list[Outcome]:
        small: dict[str, str] = {}
        outcomes: list[Outcome] = []
        first = await parts.next()
        check(await parts.text(first) if first is not None and first.name == "csrf" else "")
        while (part := await parts.next()) is not None:
            if part.filename is None:
                if outcomes or len(small) >= MAX_SMALL_PARTS:
                    raise Invalid("form")
                small[part.name or ""] = await parts.text(part)
                continue
            name = fields.file_name(part.filename)
            pieces = parts.pieces(part)
            head = await _head(pieces)
            if not name and not head:  # a file control that was left empty
                continue
            if len(outcomes) >= MAX_FILES:
                raise Invalid("files_many", limit=MAX_FILES)
            name = name or "document"
            call = AddDocument(
                session=session,
                kind=fields.kind(small.get("kind", "")),
                title=fields.title(small.get("title", ""), name),
                name=name,
                media_type="text/plain",
                patient=patient,
            )
            outcomes.append(await self._store_part(call, head, pieces))
        if not outcomes:
            raise Invalid("file_missing", field="file")
        return outcomes

    async def _store_part(self, call: AddDocument, head: bytes, pieces: AsyncIterator[bytes]) -> Outcome:
        try:
            call.media_type = recognise(head, call.name)
            await self.store(call, head, pieces)
        except PraxisError as error:
            if error.code in BROKEN_FORM:
                raise
            async for _ in pieces:  # the next file stands behind what is left of this one
                pass
            return Outcome(call.name, error)
        return Outcome(call.name, None)

    async def receive_body(self, request: web.Request, call: AddDocument) -> AddedDocument:
        """Store a request's whole body as one document; the caller has checked who sends it."""

        async def body() -> AsyncIterator[bytes]:
            while piece := await within(self._stall_timeout_s, request.content.read(PIECE_BYTES)):
                yield piece

        if (request.content_length or 0) > MAX_DOCUMENT_BYTES:
            raise Invalid("document_size")
        with self._place():
            pieces = body()
            return await self.store(call, await _head(pieces), pieces)

    async def store(self, call: AddDocument, head: bytes, pieces: AsyncIterator[bytes]) -> AddedDocument:
        """Send a document to records; answered when all of it is synced there."""
        outcome, length = "broken", len(head)
        try:
            async with self._records.send(call) as upload:
                await upload.write(head)
                async for piece in pieces:
                    length += len(piece)
                    if length > MAX_DOCUMENT_BYTES:
                        raise Invalid("document_size")
                    await upload.write(piece)
                added = await upload.finish(FINISH_TIMEOUT_S)
            outcome = "kept"
        except PraxisError:
            outcome = "refused"
            raise
        finally:
            _kept.add(outcome)
        return added

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._running >= self._max_uploads:
            raise Unavailable("uploads_busy")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


class _Parts:
    """The parts of a multipart form; whatever aiohttp's parser says of bad bytes is Invalid("form")."""

    def __init__(self, request: web.Request, stall_timeout_s: float) -> None:
        self._request = request
        self._reader: MultipartReader | None = None
        self._stall_timeout_s = stall_timeout_s
        self._read_bytes = 0
        self._following: BodyPartReader | None = None
        self._looked_ahead = False

    async def next(self) -> BodyPartReader | None:
        """Give the next part, skipping what is left of the one before; None at the end."""
        await self._look_ahead()
        self._looked_ahead = False
        return self._following

    async def _look_ahead(self) -> None:
        if self._looked_ahead:
            return
        if self._reader is None:
            if self._request.content_type != "multipart/form-data":
                raise Invalid("form")
            self._reader = await self._step(self._request.multipart())
        part = await self._step(self._reader.next())
        if part is not None and (
            not isinstance(part, BodyPartReader) or part.name is None or "Content-Transfer-Encoding" in part.headers
        ):
            raise Invalid("form")
        self._following, self._looked_ahead = part, True

    async def text(self, part: BodyPartReader) -> str:
        """Give a small part's text."""
        content = bytearray()
        while piece := await self._step(part.read_chunk(MAX_SMALL_PART_BYTES)):
            content += piece
            if len(content) > MAX_SMALL_PART_BYTES:
                raise Invalid("form")
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise Invalid("form") from error

    async def pieces(self, part: BodyPartReader) -> AsyncIterator[bytes]:
        """Give a file's bytes."""
        while piece := await self._step(part.read_chunk(PIECE_BYTES)):
            self._read_bytes += len(piece)
            if self._read_bytes > MAX_FORM_BYTES:
                raise Invalid("upload_size")
            yield bytes(piece)
        await self._look_ahead()  # a file is whole only where its boundary follows: half a file is not kept

    async def _step(self, step: Awaitable[_Step]) -> _Step:
        try:
            return await within(self._stall_timeout_s, step)
        except PARSER_FAILURES as error:
            raise Invalid("form") from error


async def _head(pieces: AsyncIterator[bytes]) -> bytes:
    """Give the first pieces, enough to see what the document is."""
    head = b""
    while len(head) < FIRST_BYTES and (piece := await anext(pieces, None)) is not None:
        head += piece
    return head
