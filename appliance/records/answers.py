"""What records answers: the tables of its six subjects in one, and that of snapshots and restores.

While a restore stands, snapshots' verbs alone are answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from appliance.core.errors import Unavailable
from appliance.core.varlink import Answers
from appliance.records.archive import Archive
from appliance.records.document_answers import DocumentAnswers
from appliance.records.earlier_share_answers import EarlierShareAnswers
from appliance.records.history import HistoryAnswers
from appliance.records.patient_answers import PatientAnswers
from appliance.records.restore_answers import RestoreAnswers
from appliance.records.search_answers import SearchAnswers
from appliance.records.share_answers import ShareAnswers
from appliance.records.snapshot_answers import SnapshotAnswers


class RecordsAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give all verbs of RECORDS with their answers."""
        answers = {
            **PatientAnswers(self._archive).table(),
            **DocumentAnswers(self._archive).table(),
            **SearchAnswers(self._archive).table(),
            **ShareAnswers(self._archive).table(),
            **EarlierShareAnswers(self._archive).table(),
            **HistoryAnswers(self._archive).table(),
        }
        return {verb: self._unless_restoring(answer) for verb, answer in answers.items()}

    def snapshots_table(self) -> Answers:
        """Give all verbs of SNAPSHOTS with their answers."""
        return {**SnapshotAnswers(self._archive).table(), **RestoreAnswers(self._archive).table()}

    def _unless_restoring(self, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(answer)
        async def answer_unless_restoring(*arguments: Any) -> Any:
            if not self._archive.not_restoring.is_set():
                raise Unavailable("restoring")
            return await answer(*arguments)

        return answer_unless_restoring
