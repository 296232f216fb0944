"""How long documents are kept, by which rule, by whose clock, and how something put in by mistake goes nevertheless."""

import asyncio
import datetime

import pytest

from appliance.contracts.records import (
    CreateShare,
    DeletePatient,
    EraseDocument,
    ListShares,
    ReadPatient,
    ReadRetention,
)
from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from appliance.records import retention
from appliance.records.retention import kept
from tests.records.bench import PDF, records_process

DAY_S = 86400
ADULT, CHILD = "1980-02-29", "2015-06-30"


def at(day, hour=12):
    return int(datetime.datetime.fromisoformat(f"{day}T{hour:02d}:00:00+00:00").timestamp())


def day_of(unix_s):
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).date().isoformat()


@pytest.mark.parametrize(
    ("kind", "media_type", "added", "last", "born", "first_day", "rule"),
    [
        ("finding", "application/pdf", "2024-03-05", "2024-03-05", ADULT, "2034-03-06", "treatment"),
        ("finding", "application/pdf", "2024-03-05", "2026-01-01", ADULT, "2036-01-02", "treatment"),  # it went on
        ("letter", "application/pdf", "2024-02-29", "2024-02-29", ADULT, "2034-03-02", "treatment"),
        ("image", "image/jpeg", "2024-03-05", "2024-03-05", ADULT, "2034-03-06", "treatment"),
        ("image", "image/jpeg", "2024-03-05", "2024-03-05", CHILD, "2043-07-01", "minors_examination"),
        ("finding", "application/dicom", "2024-03-05", "2024-03-05", CHILD, "2043-07-01", "minors_examination"),
        ("finding", "application/pdf", "2024-03-05", "2024-03-05", CHILD, "2034-03-06", "treatment"),
        (
            "image",
            "image/jpeg",
            "2033-06-29",
            "2033-06-29",
            CHILD,
            "2043-07-01",
            "minors_examination",
        ),  # a day before
        ("image", "image/jpeg", "2033-06-30", "2033-06-30", CHILD, "2043-07-01", "treatment"),  # the 18th birthday
        ("image", "image/jpeg", "2024-03-05", "2040-01-01", CHILD, "2050-01-02", "treatment"),
        ("radiotherapy", "application/pdf", "2024-03-05", "2024-03-05", CHILD, "2054-03-06", "radiotherapy"),
        ("radiotherapy", "application/pdf", "2024-03-05", "2060-03-05", ADULT, "2070-03-06", "treatment"),
    ],
)
def test_a_document_is_kept_for_the_longest_of_its_periods(kind, media_type, added, last, born, first_day, rule):
    period = kept(kind, media_type, at(added), at(last), born)
    assert (day_of(period.until), period.rule) == (first_day, rule)
    assert period.until == at(first_day, 0)


async def live(bench, until):
    """Let the box run to a time; what it does each hour is done once for each day."""

    def run(rows):
        while retention.clock(rows) < until:
            bench.clock.now = min(until, bench.clock.now + DAY_S)
            retention.keep_clock(rows, bench.clock.now)

    await bench.archive.database.run(run)


async def test_a_document_must_be_kept_for_ten_years_and_can_be_erased_the_day_after(bench):
    patient = await bench.add_patient()
    document = (await bench.add(patient=patient)).document
    share = await bench.ask(CreateShare, patient=patient, documents=[document])
    period = await bench.ask(ReadRetention, document=document)
    assert (period.rule, period.over) == ("treatment", False)
    before = await bench.actions()
    for verb, of in ((EraseDocument, {"document": document}), (DeletePatient, {"patient": patient})):
        with pytest.raises(Refused, match="retention") as refused:
            await bench.ask(verb, **of)
        assert refused.value.details == {"until": period.until, "rule": "treatment"}
    assert await bench.actions() == before
    (shown,) = (await bench.ask(ListShares)).shares
    assert (shown.share, shown.state) == (share.share, "open"), "a refused erasure ends nothing"
    await live(bench, period.until - 1)
    with pytest.raises(Refused, match="retention"):
        await bench.ask(EraseDocument, document=document)
    await live(bench, period.until)
    assert (await bench.ask(ReadRetention, document=document)).over
    await bench.ask(EraseDocument, document=document)
    assert (await bench.actions())[-1] == "document_erased"
    await bench.ask(DeletePatient, patient=patient)


async def test_a_document_that_comes_later_shows_that_the_treatment_went_on(bench):
    patient = await bench.add_patient()
    first = (await bench.add(patient=patient)).document
    before = await bench.ask(ReadRetention, document=first)
    bench.clock.now += 4 * 365 * DAY_S + DAY_S
    last = (await bench.add(patient=patient)).document
    after = await bench.ask(ReadRetention, document=first)
    assert after == await bench.ask(ReadRetention, document=last)
    assert after.until > before.until + 4 * 365 * DAY_S


@pytest.mark.parametrize("reason", ["wrong_patient", "duplicate", "no_record", "older_treatment"])
async def test_what_was_put_in_by_mistake_goes_at_once_and_the_reason_is_in_the_log(bench, reason):
    patient = await bench.add_patient()
    one, other = [(await bench.add(PDF + title, patient=patient)).document for title in (b"1", b"2")]
    await bench.ask(EraseDocument, document=one, reason=reason)
    entry = (await bench.entries())[0]
    assert (entry.action, entry.document) == (f"document_erased_{reason}", one)
    assert entry.actor
    await bench.ask(DeletePatient, patient=patient, reason=reason)
    assert [entry.action for entry in (await bench.entries())[:2]] == ["patient_deleted", f"document_erased_{reason}"]
    assert (await bench.entries())[1].document == other


async def test_a_patient_without_documents_can_be_erased(bench):
    patient = await bench.add_patient()
    period = await bench.ask(ReadRetention, patient=patient)
    assert (period.over, period.until) == (True, 0)
    await bench.ask(DeletePatient, patient=patient)
    with pytest.raises(NotFound, match="patient"):
        await bench.ask(ReadPatient, patient=patient)


async def test_a_patient_is_kept_as_long_as_the_longest_kept_document(bench):
    patient = await bench.add_patient(birth_date="2020-01-01")
    await bench.add(patient=patient)
    assert (await bench.ask(ReadRetention, patient=patient)).rule == "treatment"
    await bench.add(patient=patient, kind="radiotherapy")
    assert (await bench.ask(ReadRetention, patient=patient)).rule == "radiotherapy"
    with pytest.raises(Invalid, match="subject"):
        await bench.ask(ReadRetention)


# --- the clock --------------------------------------------------------------------------------------------------


async def test_a_clock_that_leaps_ahead_lets_nothing_be_erased(bench):
    patient = await bench.add_patient()
    document = (await bench.add(patient=patient)).document
    bench.clock.now += 50 * 365 * DAY_S
    for _ in range(24):  # a day of running
        await bench.archive.database.run(lambda rows: retention.keep_clock(rows, bench.archive.now))
    with pytest.raises(Refused, match="retention"):
        await bench.ask(EraseDocument, document=document)


async def test_starting_again_and_again_does_not_move_the_clock(tmp_path, vault):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        document = (await bench.add(patient=await bench.add_patient())).document
        clock = bench.clock
    clock.now += 50 * 365 * DAY_S
    for _ in range(3):
        async with records_process(tmp_path, vault.peer, session, clock=clock) as bench:
            with pytest.raises(Refused, match="retention"):
                await bench.ask(EraseDocument, document=document)


async def test_a_clock_that_falls_back_makes_no_document_older(bench):
    """A dead battery: the box believes that it is 1970. What comes in now must not be ten years old tomorrow."""
    patient, now = await bench.add_patient(), bench.clock.now
    bench.clock.now = 0
    await bench.archive.database.run(lambda rows: retention.keep_clock(rows, bench.archive.now))
    document = (await bench.add(patient=patient)).document
    assert (await bench.ask(ReadRetention, document=document)).until > now + 3651 * DAY_S
    with pytest.raises(Refused, match="retention"):
        await bench.ask(EraseDocument, document=document)


async def test_a_box_that_was_off_for_a_summer_catches_up_in_days(bench):
    now = bench.clock.now
    bench.clock.now += 90 * DAY_S
    hours = 0
    while await bench.archive.database.run(retention.clock) < now + 90 * DAY_S:
        await bench.archive.database.run(lambda rows: retention.keep_clock(rows, bench.archive.now))
        hours += 1
    assert hours == 90


async def test_the_clock_rises_while_the_box_runs_and_a_full_disk_only_stops_it(bench, monkeypatch):
    monkeypatch.setattr(retention, "CLOCK_PERIOD_S", 0)
    keep_clock, attempts = retention.keep_clock, []

    def on_a_full_disk_at_first(rows, now):
        attempts.append(now)
        if len(attempts) == 1:
            raise Unavailable("disk_full")
        keep_clock(rows, now)

    monkeypatch.setattr(retention, "keep_clock", on_a_full_disk_at_first)
    bench.clock.now += 30 * DAY_S
    work = asyncio.ensure_future(bench.archive.keep_clock_for_ever())
    try:
        while await bench.archive.database.run(retention.clock) < bench.clock.now:
            assert not work.done()
    finally:
        work.cancel()
    assert len(attempts) >= 31
