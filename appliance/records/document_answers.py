"""What records answers about documents: in as a stream, sealed; out as a stream, opened piece by piece."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import replace
from weakref import WeakValueDictionary

from appliance.contracts.records import (
    AddDocument,
    AddedDocument,
    Document,
    EraseDocument,
    FindDocument,
    ReadDocument,
    ReadPreview,
    ReadRetention,
    Retention,
)
from appliance.contracts.vault import RevokeSharesOf, Session, WrappedKey
from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.core.metrics import Counter
from appliance.core.varlink import Answers, Caller, Done, Stream
from appliance.formats.envelope import (
    KEY_BYTES,
)
from appliance.records import document_keys, documents, patients, previews, retention, shares
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.documents import Sealed
from appliance.records.intake import ContentCheck, Sealing, receive
from appliance.records.names import clean_file_name, clean_person, clean_title
from appliance.records.opening import open_preview, open_sealed
from appliance.records.previews import SealedPreview
from appliance.records.retention import ERASED
from appliance.records.sealed_files import IncomingFile
from appliance.records.threads import on_thread

MAX_INTAKES_AT_ONCE = 8
MAX_READS_AT_ONCE = 16

_documents = Counter("documents_total", "Documents by what was done.", ["added", "repeated", "read", "erased"])


class DocumentAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._intakes = asyncio.Semaphore(MAX_INTAKES_AT_ONCE)
        self._reads = asyncio.Semaphore(MAX_READS_AT_ONCE)
        self._keys_in_use: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {
            AddDocument: self.answer_add_document,
            FindDocument: self.answer_find_document,
            ReadDocument: self.answer_read_document,
            ReadPreview: self.answer_read_preview,
            EraseDocument: self.answer_erase_document,
            ReadRetention: self.answer_read_retention,
        }

    async def answer_add_document(self, call: AddDocument, _: Caller, stream: Stream) -> AddedDocument:
        """Store a document: sealed file and entry, then the row; answered when all are synced."""
        with self._archive.intakes.going_on():
            return await self._add_document(call, stream)

    async def _add_document(self, call: AddDocument, stream: Stream) -> AddedDocument:
        archive = self._archive
        session = await archive.sessions.check(call.session)
        patient = await self._patient(call, session)
        description = Document(
            document=os.urandom(16).hex(),
            patient=patient,
            kind=call.kind,
            title=clean_title(call.title),
            name=clean_file_name(call.name),
            media_type=call.media_type,
            length=0,
            added_at=archive.now,
            added_by=session.name,
        )
        async with self._one_by_one(session, call.idempotency_key), self._intakes:
            repeated = await self._receive_again(call, session, stream)
            added = repeated or await self._receive(call, session, description, stream)
        _documents.add("repeated" if added.repeated else "added")
        return added

    async def answer_find_document(self, call: FindDocument, _: Caller) -> Document:
        """Describe a document."""
        await self._archive.sessions.check_staff(call.session, touch=False)
        sealed = await self._archive.database.run(lambda rows: documents.find(rows, call.document))
        return sealed.description

    async def answer_read_document(self, call: ReadDocument, _: Caller, stream: Stream) -> None:
        """Give a document's content. The first read of a member of staff in a while is always in the log."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session, touch=False)
        sealed = await archive.database.run(lambda rows: documents.find(rows, call.document))
        document = sealed.description
        if call.first > document.length:
            raise Invalid("first")
        first_time = archive.sessions.count_read(session, call.document)
        if first_time or call.first == 0:
            await archive.log(session, "document_read", patient=document.patient, document=document.document)
        await self._send(open_sealed(archive, sealed, call.first), stream)
        _documents.add("read")

    async def answer_read_preview(self, call: ReadPreview, _: Caller, stream: Stream) -> None:
        """Give a document's preview: to look at it is to read the document, and is counted and logged as that."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session, touch=False)

        def find(rows: Rows) -> tuple[str, SealedPreview]:
            return documents.find(rows, call.document).description.patient, previews.find_now(rows, call.document)

        patient, sealed = await archive.database.run(find)
        archive.sessions.count_read(session, call.document)
        await archive.log(session, "document_read", patient=patient, document=call.document)
        await self._send(open_preview(archive, sealed), stream)
        _documents.add("read")

    async def answer_erase_document(self, call: EraseDocument, _: Caller) -> Done:
        """End the shares that name it, take them out of the spool, erase row and file; the key turns later."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session)
        async with archive.erasing():
            sealed = await archive.database.run(lambda rows: documents.find(rows, call.document))
            patient = sealed.description.patient
            await archive.database.run(
                lambda rows: retention.check(rows, retention.of_document(rows, call.document), call.reason)
            )
            await archive.vault.ask(RevokeSharesOf(session=call.session, document=call.document))
            await archive.withdraw(await archive.database.run(lambda rows: shares.naming(rows, call.document)))
            await archive.log(session, ERASED[call.reason], patient=patient, document=call.document)

            def erase(rows: Rows) -> list[str]:
                files = [sealed.file, *previews.file_of(rows, call.document)]
                documents.remove(rows, patient, call.document, archive.now)
                return files

            files = await archive.database.run(erase)
            await on_thread(archive.file_threads, archive.files.remove, files)
            await archive.database.forget()
        _documents.add("erased")
        return Done()

    async def answer_read_retention(self, call: ReadRetention, _: Caller) -> Retention:
        """Say how long a document, or all of a patient's, must be kept."""
        archive = self._archive
        await archive.sessions.check_staff(call.session, touch=False)
        if (call.document is None) == (call.patient is None):
            raise Invalid("subject")

        def read(rows: Rows) -> Retention:
            period = retention.of_patient(rows, call.patient or "")
            if call.document is not None:
                period = retention.of_document(rows, call.document)
            if period is None:
                return Retention(until=0, rule="treatment", over=True)
            return Retention(until=period.until, rule=period.rule, over=retention.clock(rows) >= period.until)

        return await archive.database.run(read)

    def _one_by_one(self, session: Session, key: str) -> AbstractAsyncContextManager[object]:
        """Two intakes under one key wait for each other, so that the second one finds the first one's document."""
        if not key:
            return nullcontext()
        return self._keys_in_use.setdefault((session.principal, key), asyncio.Lock())

    async def _patient(self, call: AddDocument, session: Session) -> str:
        """Give whose document it is: staff name the patient, a device describes the person."""
        if session.kind == "device":
            if call.match is None or call.patient is not None:
                raise Refused("session_kind")
            person = clean_person(call.match)
            return await self._archive.database.run(lambda rows: patients.match(rows, person))
        patient = call.patient
        if patient is None or call.match is not None:
            raise Invalid("patient")
        await self._archive.database.run(lambda rows: patients.read(rows, patient))
        return patient

    async def _receive_again(self, call: AddDocument, session: Session, stream: Stream) -> AddedDocument | None:
        """If the key came before, hold the bytes against those of then and store nothing."""
        key = call.idempotency_key
        if not key:
            return None
        known = await self._archive.database.run(lambda rows: documents.came_before(rows, session.principal, key))
        if known is None:
            return None
        check = ContentCheck(call.media_type, with_digest=True)
        content_sha256 = await receive(stream.pieces(), check.take, check.finish, self._archive.file_threads)
        if content_sha256 != known.content_sha256:
            raise Invalid("idempotency_key")
        return AddedDocument(document=known.document, patient=known.patient, repeated=True)

    async def _receive(
        self, call: AddDocument, session: Session, description: Document, stream: Stream
    ) -> AddedDocument:
        archive, threads = self._archive, self._archive.file_threads
        document, key = description.document, os.urandom(KEY_BYTES)
        sealer = archive.new_sealer(document, key, description.name, description.media_type)
        incoming = archive.files.receive()
        wrapping = asyncio.ensure_future(document_keys.wrap(archive, document, key))
        try:
            check = ContentCheck(call.media_type, with_digest=bool(call.idempotency_key))
            sealing = Sealing(check, sealer, incoming)
            content_sha256 = await receive(stream.pieces(), sealing.take, sealing.finish, threads)
            wrapped = await wrapping
            description.length = sealer.content_length
            sealed = Sealed(
                description=description,
                sealed_length=incoming.length,
                sealed_sha256=incoming.digest(),
                wrapped_key=wrapped,
                file=await self._keep(session, incoming, description),
            )
        finally:
            incoming.discard()
            wrapping.cancel()
            await asyncio.gather(wrapping, return_exceptions=True)
        try:
            return await self._add_row(call, session, sealed, key, content_sha256)
        except PraxisError:
            await on_thread(threads, archive.files.remove, [sealed.file])
            raise

    async def _keep(self, session: Session, incoming: IncomingFile, description: Document) -> str:
        """Sync the file in its place while audit syncs the entry: the row waits for both, neither for the other."""
        archive, document = self._archive, description.document
        keeping = asyncio.ensure_future(on_thread(archive.file_threads, incoming.keep, document))
        try:
            await archive.log(session, "document_added", patient=description.patient, document=document)
        except PraxisError:
            await on_thread(archive.file_threads, archive.files.remove, [await keeping])
            raise
        finally:
            await asyncio.gather(keeping, return_exceptions=True)
        return await keeping

    async def _add_row(
        self, call: AddDocument, session: Session, sealed: Sealed, key: bytes, content_sha256: bytes
    ) -> AddedDocument:
        archive, idempotency_key = self._archive, call.idempotency_key
        document, patient = sealed.description.document, sealed.description.patient

        def add(rows: Rows, wrapped: WrappedKey) -> None:
            sealed.description.added_at = max(sealed.description.added_at, retention.clock(rows))
            documents.add(rows, replace(sealed, wrapped_key=wrapped))
            if idempotency_key:
                documents.keep_key(rows, session.principal, idempotency_key, document, content_sha256)
            previews.want(rows, sealed.description)

        await document_keys.keep(archive, document, key, sealed.wrapped_key, add)
        archive.previews_wanted.set()
        return AddedDocument(document=document, patient=patient)

    async def _send(self, opened: AsyncGenerator[bytes, None], stream: Stream) -> None:
        async with self._reads, aclosing(opened) as pieces:
            async for piece in pieces:
                await stream.write(piece)
