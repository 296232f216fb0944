"""How long a document must be kept, and by which clock. Plain functions on values and one transaction's rows.

German law, as docs/decisions/retention.md reads it: records for 10 years after the treatment has ended (BGB § 630f
(3)); of an examination with X-rays of somebody under 18, until the 28th birthday; of a treatment with radiation, 30
years (StrlSchG § 85 (2)). The box does not know when a treatment ended: it takes the day of the patient's last
document, and every picture and DICOM file for one of an X-ray examination. The last day counts, so a document may go
the day after.

The clock of these periods only rises, and by at most a day in each hour that the box runs: a clock that leaps ahead
lets nothing be erased, and one that falls back makes no document older than it is.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from appliance.contracts.audit import Action
from appliance.contracts.records import ErasureReason, RetentionRule
from appliance.core.errors import NotFound, Refused
from appliance.records.database import Rows

TREATMENT_YEARS = 10
RADIOTHERAPY_YEARS = 30
ADULT_AGE = 18
MINORS_EXAMINATION_AGE = 28
#: The one reason that is no one's statement: the box itself says that the period is over.
PERIOD_OVER: ErasureReason = "period_over"
#: What the audit log says of an erasure.
ERASED: dict[ErasureReason, Action] = {
    "period_over": "document_erased",
    "wrong_patient": "document_erased_wrong_patient",
    "duplicate": "document_erased_duplicate",
    "no_record": "document_erased_no_record",
    "older_treatment": "document_erased_older_treatment",
}
CLOCK_PERIOD_S = 3600
MAX_STEP_S = 86400


@dataclass(frozen=True)
class Kept:
    """Until when a document must be kept (the first second after it), and by which rule."""

    until: int
    rule: RetentionRule


def kept(kind: str, media_type: str, added_at: int, last_added_at: int, birth_date: str) -> Kept:
    """Give the longest of the periods that a document is under; `last_added_at` is the patient's last document's."""
    added, born = _day(added_at), datetime.date.fromisoformat(birth_date)
    found: list[tuple[datetime.date, RetentionRule]] = [
        (_years_later(_day(last_added_at), TREATMENT_YEARS), "treatment")
    ]
    is_examination = kind == "image" or media_type == "application/dicom"
    if is_examination and added < _years_later(born, ADULT_AGE):
        found.append((_years_later(born, MINORS_EXAMINATION_AGE), "minors_examination"))
    if kind == "radiotherapy":
        found.append((_years_later(added, RADIOTHERAPY_YEARS), "radiotherapy"))
    last, rule = max(found)
    return Kept(_start(last + datetime.timedelta(days=1)), rule)


def of_document(rows: Rows, document: str) -> Kept:
    """Give the period of one document; NotFound("document")."""
    found = _of(rows, "document = ?", document)
    if not found:
        raise NotFound("document")
    return found[0]


def of_patient(rows: Rows, patient: str) -> Kept | None:
    """Give the longest period of a patient's documents; None if there are none."""
    return max(_of(rows, "patient = ?", patient), key=lambda one: one.until, default=None)


def check(rows: Rows, period: Kept | None, reason: ErasureReason) -> None:
    """Refused("retention", until, rule) if only the period's end would allow this erasure, and it is not over."""
    if reason == PERIOD_OVER and period is not None and clock(rows) < period.until:
        raise Refused("retention", until=period.until, rule=period.rule)


def clock(rows: Rows) -> int:
    """Give the time by which periods are counted."""
    row = rows.one("SELECT at FROM retention_clock")
    return 0 if row is None else int(row[0])


def keep_clock(rows: Rows, now: int) -> None:
    """Let it rise towards `now`; once every CLOCK_PERIOD_S. The first time sets it."""
    at = clock(rows)
    rows.change("UPDATE retention_clock SET at = ?", at + min(max(0, now - at), MAX_STEP_S) if at else now)


def _of(rows: Rows, condition: str, value: str) -> list[Kept]:
    found = rows.all(
        f"""
        SELECT kind, media_type, added_at, birth_date,
            (SELECT max(added_at) FROM documents AS others WHERE others.patient = documents.patient)
        FROM documents JOIN patients USING (patient) WHERE {condition}
        """,  # noqa: S608 (ours)
        value,
    )
    return [
        kept(kind, media_type, added_at, last, birth_date) for kind, media_type, added_at, birth_date, last in found
    ]


def _day(unix_s: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).date()


def _start(day: datetime.date) -> int:
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp())


def _years_later(day: datetime.date, years: int) -> datetime.date:
    """Give the same day so many years later; for 29 February, 1 March where there is none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return datetime.date(day.year + years, 3, 1)
