"""The audit log in the practice's words: names and titles beside the pseudonyms, for those that are still here."""

from __future__ import annotations

from appliance.contracts.audit import Entry, ReadEntries
from appliance.contracts.records import History, HistoryEntry, ReadHistory
from appliance.core.varlink import Answers, Caller
from appliance.records import documents, patients
from appliance.records.archive import Archive
from appliance.records.database import Rows


class HistoryAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {ReadHistory: self.answer_read_history}

    async def answer_read_history(self, call: ReadHistory, _: Caller) -> History:
        """Read the log, newest first."""
        archive = self._archive
        await archive.sessions.check_staff(call.session, touch=False)
        read = await archive.audit.ask(ReadEntries(before=call.before, patient=call.patient))
        entries = await archive.database.run(lambda rows: _described(rows, read.entries))
        return History(entries=entries, size=read.size)


def _described(rows: Rows, entries: list[Entry]) -> list[HistoryEntry]:
    names = patients.display_names(rows, {entry.patient for entry in entries if entry.patient})
    titles = documents.titles(rows, {(entry.patient, entry.document) for entry in entries if entry.document})
    return [
        HistoryEntry(
            entry=entry,
            patient_name=names.get(entry.patient, ""),
            document_title=titles.get(entry.document, ""),
        )
        for entry in entries
    ]
