"""What records answers: the tables of its six subjects in one."""

from __future__ import annotations

from appliance.core.varlink import Answers
from appliance.records.archive import Archive
from appliance.records.document_answers import DocumentAnswers
from appliance.records.earlier_share_answers import EarlierShareAnswers
from appliance.records.history import HistoryAnswers
from appliance.records.patient_answers import PatientAnswers
from appliance.records.search_answers import SearchAnswers
from appliance.records.share_answers import ShareAnswers


class RecordsAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give all verbs with their answers."""
        return {
            **PatientAnswers(self._archive).table(),
            **DocumentAnswers(self._archive).table(),
            **SearchAnswers(self._archive).table(),
            **ShareAnswers(self._archive).table(),
            **EarlierShareAnswers(self._archive).table(),
            **HistoryAnswers(self._archive).table(),
        }
