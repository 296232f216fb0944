"""What records answers about searching in documents.

A passage of a document's text is a read of it: it stands in the log, once in a while for each member of staff and
document, before it is shown.
"""

from __future__ import annotations

import asyncio

from appliance.contracts.records import Document, FoundDocument, FoundDocuments, Patient, SearchDocuments
from appliance.contracts.vault import Session
from appliance.core.errors import PraxisError
from appliance.core.varlink import Answers, Caller
from appliance.records import documents, patients, search
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.documents import Sealed
from appliance.records.passages import place_of
from appliance.records.threads import on_thread


class SearchAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {SearchDocuments: self.answer_search_documents}

    async def answer_search_documents(self, call: SearchDocuments, _: Caller) -> FoundDocuments:
        """Find documents; what shows text is counted and logged first."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session, touch=False)

        def find(rows: Rows) -> tuple[list[tuple[search.Found, Sealed, Patient]], bool]:
            found, more = search.find(rows, call.text, call.before, call.count)
            sealed = [documents.find(rows, each.document) for each in found]
            owners = [patients.read(rows, each.description.patient) for each in sealed]
            return list(zip(found, sealed, owners, strict=True)), more

        rows, more = await archive.database.run(find)
        shown = await on_thread(
            archive.file_threads,
            lambda: [_shown(call.text, found, sealed, patient) for found, sealed, patient in rows],
        )
        await self._log_passages(session, [each.document for each in shown if each.passage is not None])
        return FoundDocuments(documents=shown, older=rows[-1][0].number if more else None)

    async def _log_passages(self, session: Session, shown: list[Document]) -> None:
        sessions, new = self._archive.sessions, list[Document]()
        try:
            for document in shown:
                if sessions.count_passage(session, document.document):
                    new.append(document)
            await asyncio.gather(
                *(
                    self._archive.log(session, "document_found", patient=document.patient, document=document.document)
                    for document in new
                )
            )
        except PraxisError:
            for document in new:  # not shown, so it is not yet in the log for good
                sessions.forget_passage(session, document.document)
            raise


def _shown(text: str, found: search.Found, sealed: Sealed, patient: Patient) -> FoundDocument:
    document, person = sealed.description, patient.person
    place, passage = place_of(
        text, document.title, document.name, f"{person.family_name} {person.given_name}", found.text
    )
    return FoundDocument(document=document, person=person, place=place, passage=passage)
