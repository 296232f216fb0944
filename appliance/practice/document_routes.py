"""Documents: receive uploads, show, give as download, erase.

Bytes pass piece by piece between browser and records; nothing of a document lies on this process's disk.
"""

from __future__ import annotations

import re
from contextlib import aclosing

from aiohttp import web

from appliance.contracts.records import Document, EraseDocument, FindDocument, ReadDocument, ReadPatient, ReadPreview
from appliance.core.errors import PraxisError, Refused
from appliance.core.metrics import Counter
from appliance.practice import fields, headers
from appliance.practice.desk import Desk
from appliance.practice.disposition import content_disposition
from appliance.practice.erase_page import erase_page, reason_of
from appliance.practice.guard import check_csrf
from appliance.practice.media_types import SHOWN_BY_PREVIEW, text_charset
from appliance.practice.patient_routes import patient_page
from appliance.practice.stall import within
from appliance.practice.uploads import Uploads
from appliance.practice.visit import Visit, see_other

_RESUME = re.compile(r"bytes=(\d{1,10})-\Z")

_delivered = Counter(
    "staff_deliveries_total", "Documents shown or downloaded, by how it ended.", ["complete", "broken"]
)


class DocumentRoutes:
    """Pages and bytes of documents."""

    def __init__(self, desk: Desk, uploads: Uploads) -> None:
        self._desk = desk
        self._records = desk.peers.records
        self._uploads = uploads

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.post("/patients/{patient}/documents", staff(self.add, reads_form=False)),
            web.get("/documents/{document}/open", staff(self.open), allow_head=False),
            web.get("/documents/{document}/download", staff(self.download), allow_head=False),
            web.get("/documents/{document}/delete", staff(self.show_delete)),
            web.post("/documents/{document}/delete", staff(self.delete)),
        ]

    async def add(self, visit: Visit) -> web.StreamResponse:
        """Store the files of an upload form; says for each what became of it."""
        patient = fields.identifier(visit.part("patient"), "patient")
        try:
            outcomes = await self._uploads.receive_form(
                visit.request, visit.token, patient, lambda token: check_csrf(visit, token)
            )
        except PraxisError as error:
            if error.family == "Refused":
                raise
            return await patient_page(self._desk, visit, patient, error=error)
        if all(outcome.error is None for outcome in outcomes):
            return see_other(f"/patients/{patient}?done=uploaded")
        return await patient_page(self._desk, visit, patient, outcomes=outcomes)

    async def open(self, visit: Visit) -> web.StreamResponse:
        """Show a document in the browser, as another origin; what no browser shows, by its preview."""
        document = await self._find(visit)
        if document.media_type in SHOWN_BY_PREVIEW:
            return await self._show_preview(visit, document)
        return await self._give(visit, document, "inline")

    async def download(self, visit: Visit) -> web.StreamResponse:
        """Give a document to be saved; can be resumed."""
        return await self._give(visit, await self._find(visit), "attachment")

    async def show_delete(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        """Ask before a document is erased."""
        document, t = await self._find(visit), visit.texts
        file = await self._records.ask(ReadPatient(session=visit.token, patient=document.patient))
        person = file.patient.person
        return await erase_page(
            self._desk,
            visit,
            document=document.document,
            error=error,
            title=t("document.delete.title"),
            subject=document.title,
            facts=[
                t(f"kind.{document.kind}"),
                f"{person.family_name}, {person.given_name}, {t('patient.born', date=t.date(person.birth_date))}",
                t("document.added", moment=t.moment(document.added_at), by=document.added_by),
            ],
            warning=t("document.delete.warning"),
            action=f"/documents/{document.document}/delete",
            button=t("document.delete.button"),
            back=f"/patients/{document.patient}",
        )

    async def delete(self, visit: Visit) -> web.StreamResponse:
        """Erase a document; asks again if it must be kept and no reason is stated."""
        document, reason = await self._find(visit), reason_of(visit.form)
        try:
            await self._records.ask(EraseDocument(session=visit.token, document=document.document, reason=reason))
        except Refused as error:
            if error.code != "retention":
                raise
            return await self.show_delete(visit, error)
        return see_other(f"/patients/{document.patient}?done=document_deleted")

    async def _find(self, visit: Visit) -> Document:
        document = fields.identifier(visit.part("document"), "document")
        return await self._records.ask(FindDocument(session=visit.token, document=document))

    async def _show_preview(self, visit: Visit, document: Document) -> web.StreamResponse:
        call = ReadPreview(session=visit.token, document=document.document)
        async with aclosing(self._records.receive(call)) as pieces:
            picture = b"".join([bytes(piece) async for piece in pieces])
        answer = web.Response(body=picture, content_type="image/jpeg")
        answer.headers["Content-Security-Policy"] = headers.DOCUMENT_POLICY
        answer.headers["Content-Disposition"] = content_disposition("inline", f"{document.name}.jpg")
        _delivered.add("complete")
        return answer

    async def _give(self, visit: Visit, document: Document, kind: str) -> web.StreamResponse:
        first = _first_byte(visit.request, document)
        call = ReadDocument(session=visit.token, document=document.document, first=first)
        async with aclosing(self._records.receive(call)) as pieces:
            piece = await anext(pieces, None)  # a failure before the first byte is still a page
            answer = _head(document, kind, bytes(piece or b""), first)
            outcome = "broken"
            try:
                await answer.prepare(visit.request)
                while piece is not None:
                    # The piece is valid until the next is asked for: the transport gets its own bytes.
                    await within(self._desk.settings.stall_timeout_s, answer.write(bytes(piece)))
                    piece = await anext(pieces, None)
                await answer.write_eof()
                outcome = "complete"
            except PraxisError:
                raise ConnectionResetError from None
            finally:
                _delivered.add(outcome)
                if outcome != "complete" and visit.request.transport is not None:
                    visit.request.transport.abort()  # the promised length is not reached: a broken transfer, no page
        return answer


def _first_byte(request: web.Request, document: Document) -> int:
    """Give where a resumed download goes on; every other Range is answered whole (RFC 9110 14.2)."""
    wanted = _RESUME.match(request.headers.get("Range", ""))
    if wanted is None or request.headers.get("If-Range", _tag(document)) != _tag(document):
        return 0
    return int(wanted[1]) if int(wanted[1]) < document.length else 0


def _tag(document: Document) -> str:
    return f'"{document.document}"'  # a document never changes: a changed one is another document


def _head(document: Document, kind: str, first_piece: bytes, first: int) -> web.StreamResponse:
    answer = web.StreamResponse(status=206 if first else 200)
    answer.content_type = document.media_type
    if document.media_type == "text/plain":
        answer.charset = text_charset(first_piece)
    is_pdf = document.media_type == "application/pdf"
    answer.headers["Content-Security-Policy"] = headers.PDF_POLICY if is_pdf else headers.DOCUMENT_POLICY
    answer.headers["Content-Disposition"] = content_disposition(kind, document.name)
    answer.headers["ETag"] = _tag(document)
    answer.headers["Accept-Ranges"] = "bytes"
    answer.content_length = document.length - first
    if first:
        answer.headers["Content-Range"] = f"bytes {first}-{document.length - 1}/{document.length}"
    return answer
