"""Has preview look at documents, one after the other, after they were acknowledged.

Rules: nobody waits for this, and it waits while documents come in; what a document does to preview costs that
document its preview and nothing else. The picture is sealed like a document before it touches the disk; the text goes
into the encrypted database.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from appliance.contracts.preview import MakePreview, Preview, PreviewedType
from appliance.contracts.records import Document
from appliance.contracts.vault import WrappedKey
from appliance.core.errors import Invalid, PraxisError
from appliance.core.journal import say
from appliance.core.metrics import Counter
from appliance.core.varlink import Peer
from appliance.formats.envelope import KEY_BYTES
from appliance.records import document_keys, documents, previews
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.documents import Sealed
from appliance.records.opening import open_sealed
from appliance.records.previews import SealedPreview
from appliance.records.threads import on_thread

#: preview ends itself before (RuntimeMaxSec= of its unit).
ANSWER_TIMEOUT_S = 75.0
UNREACHABLE_PAUSE_S = 10.0
#: Documents that come in one after the other come first: a preview takes a processor for a while.
QUIET_S = 1.0
LONGEST_WAIT_S = 30.0

_previews = Counter("previews_total", "Documents that preview looked at.", ["made", "refused", "failed", "erased"])


class PreviewWork:
    """The work of one archive; `preview` is the process to ask."""

    def __init__(self, archive: Archive, preview: Peer) -> None:
        self._archive = archive
        self._preview = preview

    async def do_for_ever(self) -> None:
        """Work until cancelled: what is pending from before first, then whatever comes."""
        while True:
            await self._archive.not_restoring.wait()
            self._archive.previews_wanted.clear()
            await self._archive.intakes.wait_for_quiet(QUIET_S, LONGEST_WAIT_S)
            document = await self._archive.database.run(previews.take_pending)
            if document is None:
                await self._archive.previews_wanted.wait()
            elif not await self._look_at(document):
                await asyncio.sleep(UNREACHABLE_PAUSE_S)

    async def _look_at(self, document: str) -> bool:
        """Make one document's preview; False if a process that is needed for it cannot be reached now."""
        database = self._archive.database
        try:
            sealed = await database.run(lambda rows: documents.find(rows, document))
            await self._keep(sealed, await self._ask(sealed))
        except Invalid as error:
            say("preview_refused", code=error.code)
            _previews.add("refused")
            await database.run(lambda rows: previews.give_up(rows, document, for_good=True))
        except PraxisError as error:
            if error.code in {"peer_away", "disk_full"}:
                await database.run(lambda rows: previews.give_back(rows, document))
                return False
            say("preview_failed", priority="warning", code=error.code)
            _previews.add("failed")
            await database.run(lambda rows: previews.give_up(rows, document, for_good=False))
        return True

    async def _ask(self, sealed: Sealed) -> Preview:
        media_type = sealed.description.media_type
        if media_type not in previews.PREVIEWED_TYPES:
            raise Invalid("document_type")
        call = MakePreview(media_type=cast(PreviewedType, media_type))
        async with self._preview.send(call) as upload, aclosing(open_sealed(self._archive, sealed)) as pieces:
            async for piece in pieces:
                await upload.write(piece)
            return await upload.finish(ANSWER_TIMEOUT_S)

    async def _keep(self, sealed: Sealed, made: Preview) -> None:
        archive, description = self._archive, sealed.description
        if made.picture:
            kept = await self._keep_picture(description, made.picture, made.text)
        else:
            kept = await archive.database.run(lambda rows: previews.settle(rows, description, made.text, None))
        _previews.add("made" if kept else "erased")

    async def _keep_picture(self, description: Document, picture: bytes, text: str) -> bool:
        """Seal it and keep its row; False if the document was erased meanwhile, and nothing is left then."""
        archive, key, preview = self._archive, os.urandom(KEY_BYTES), os.urandom(16).hex()
        wrapped = await document_keys.wrap(archive, preview, key)
        sealed = await on_thread(archive.file_threads, _write, archive, picture, preview, key, wrapped)

        def settle(rows: Rows, wrapped: WrappedKey) -> bool:
            return previews.settle(rows, description, text, replace(sealed, wrapped_key=wrapped))

        kept = await document_keys.keep(archive, preview, key, wrapped, settle)
        if not kept:
            await on_thread(archive.file_threads, archive.files.remove, [sealed.file])
        return kept


def _write(archive: Archive, picture: bytes, preview: str, key: bytes, wrapped_key: WrappedKey) -> SealedPreview:
    sealer = archive.new_sealer(preview, key, previews.NAME, previews.MEDIA_TYPE)
    incoming = archive.files.receive()
    try:
        incoming.write(sealer.header())
        incoming.write(sealer.seal(picture))
        for sealed in sealer.finish():
            incoming.write(sealed)
        file = incoming.keep(preview)
    finally:
        incoming.discard()
    return SealedPreview(preview, len(picture), incoming.length, incoming.digest(), wrapped_key, file)
