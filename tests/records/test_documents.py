"""Documents over the socket: what went in comes out, sealed at rest, whole or not at all."""

import asyncio
import errno
import os
import resource
import sys
from pathlib import Path

import pytest

from appliance.contracts.records import (
    RECORDS,
    AddDocument,
    EraseDocument,
    FindDocument,
    FindPatients,
    Person,
    ReadPatient,
)
from appliance.core.errors import Invalid, NotFound, Refused, Tampered, Unavailable
from appliance.core.metrics import render
from appliance.records import intake, sealed_files
from tests.records.bench import PDF, records_process
from tests.records.dying_process import MOMENTS, ROW_SYNCED

ROOT = Path(__file__).parents[2]
SEGMENT = 65536
SIZES = [9, 10, 65_420, 65_480 - 60, 65_520, 131_000, 3 * SEGMENT + 17, 1_500_001]


def content(size, start=PDF):
    return (start + os.urandom(max(0, size - len(start))))[:size]


@pytest.mark.parametrize("size", SIZES)
async def test_document_bytes_come_back_equal(bench, size):
    patient = await bench.add_patient()
    sent = content(size)
    added = await bench.add(sent, patient=patient, piece_bytes=70_001)
    assert added.patient == patient
    assert await bench.read(added.document) == sent
    described = await bench.ask(FindDocument, document=added.document)
    assert (described.length, described.name, described.added_by) == (size, "befund.pdf", "Dr. Test")


async def test_any_first_byte_gives_the_rest(bench):
    patient = await bench.add_patient()
    sent = content(3 * SEGMENT)
    document = (await bench.add(sent, patient=patient)).document
    for first in [1, 9, 65_400, 65_419, 65_420, 65_421, 131_000, len(sent) - 1, len(sent)]:
        assert await bench.read(document, first) == sent[first:]
    with pytest.raises(Invalid, match="first"):
        await bench.read(document, len(sent) + 1)


@pytest.mark.parametrize(
    ("media_type", "start"),
    [
        ("application/pdf", b"%PDF-1.4"),
        ("image/jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
        ("image/png", b"\x89PNG\r\n\x1a\n"),
        ("text/plain", "Grüße".encode()),
        ("text/plain", "Grüße".encode("iso-8859-1")),
        ("text/plain", b"x"),
    ],
)
async def test_a_document_of_its_type_is_taken(bench, media_type, start):
    added = await bench.add(start, patient=await bench.add_patient(), media_type=media_type)
    assert await bench.read(added.document) == start


@pytest.mark.parametrize(
    ("media_type", "sent"),
    [
        ("application/pdf", b"PDF-1.4 and more"),
        ("application/pdf", b"%PDF"),
        ("application/pdf", b"\n%PDF-1.4"),
        ("image/jpeg", b"\x89PNG\r\n\x1a\n"),
        ("image/png", b"\x89PNG\r\n\x1a"),
        ("text/plain", b"text\0"),
        ("text/plain", b"t" * 1_000_000 + b"\0"),
    ],
)
async def test_a_document_of_another_type_leaves_nothing(bench, media_type, sent):
    patient = await bench.add_patient()
    with pytest.raises(Invalid, match="document_type"):
        await bench.add(sent, patient=patient, media_type=media_type)
    assert bench.sealed_files == bench.incoming == []
    assert (await bench.ask(ReadPatient, patient=patient)).documents == []


async def test_an_empty_document_is_refused(bench):
    with pytest.raises(Invalid, match="document_empty"):
        await bench.add(b"", patient=await bench.add_patient())


async def test_a_document_over_the_cap_is_refused_while_it_is_sent(bench, monkeypatch):
    monkeypatch.setattr(intake, "MAX_DOCUMENT_BYTES", 1_000_000)
    patient = await bench.add_patient()
    assert await bench.add(content(1_000_000), patient=patient)
    with pytest.raises(Invalid, match="document_size"):
        await bench.add(content(40_000_000), patient=patient)
    assert len(bench.sealed_files) == 1
    assert bench.incoming == []


async def test_a_broken_transfer_leaves_nothing(bench):
    patient = await bench.add_patient()
    call = AddDocument(
        session=bench.session, kind="lab", title="T", name="n.pdf", media_type="application/pdf", patient=patient
    )
    async with bench.peer.send(call) as upload:
        await upload.write(content(900_000))
    for _ in range(200):
        if not bench.incoming:
            break
        await asyncio.sleep(0.005)
    assert bench.incoming == bench.sealed_files == []


async def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, vault, bench):
    patient = await bench.add_patient()

    def full(*_):
        raise OSError(errno.ENOSPC, "")

    for broken in ("write", "fsync"):
        original = getattr(os, broken)
        try:
            setattr(os, broken, full)
            with pytest.raises(Unavailable, match="disk_full"):
                await bench.add(content(700_000), patient=patient)
        finally:
            setattr(os, broken, original)
        assert bench.sealed_files == bench.incoming == []
    assert (await bench.add(content(700_000), patient=patient)).document


async def test_the_reserve_of_the_disk_stays_free(tmp_path, vault):
    async with records_process(tmp_path, vault.peer, vault.log_in(), reserve_bytes=1 << 60) as bench:
        patient = await bench.add_patient()
        with pytest.raises(Unavailable, match="disk_full"):
            await bench.add(content(100), patient=patient)
        assert bench.incoming == []


@pytest.mark.parametrize("moment", MOMENTS)
async def test_crash_before_row_leaves_no_half_document(tmp_path, vault, moment):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        patient = await bench.add_patient()
        kept = (await bench.add(content(1000), patient=patient)).document
    command = [sys.executable, "-m", "tests.records.dying_process", str(tmp_path), session, patient, moment]
    dying = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    assert await dying.wait() == 9
    left = [path for path in (tmp_path / "records/sealed").rglob("*-*") if path.is_file()]
    left += (tmp_path / "records" / "incoming").iterdir()
    assert len(left) == 2  # the kept one, and what the crash left
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert bench.incoming == []
        assert len(bench.sealed_files) == 1
        assert [one.document for one in (await bench.ask(ReadPatient, patient=patient)).documents] == [kept]
        assert len(await bench.read(kept)) == 1000


async def test_crash_after_row_leaves_a_whole_document(tmp_path, vault):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        patient = await bench.add_patient()
    command = [sys.executable, "-m", "tests.records.dying_process", str(tmp_path), session, patient, ROW_SYNCED]
    dying = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    assert await dying.wait() == 9
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert bench.incoming == []
        (document,) = (await bench.ask(ReadPatient, patient=patient)).documents
        assert await bench.read(document.document) == PDF + bytes(1_200_000)


async def test_audit_away_means_no_document(tmp_path, vault):
    async with records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        patient = await bench.add_patient()
    async with records_process(tmp_path, vault.peer, vault.log_in(), audit_process="tunnel") as bench:
        with pytest.raises(Unavailable, match="audit_away"):
            await bench.add(content(1000), patient=patient)
        assert bench.sealed_files == bench.incoming == []


async def test_a_lost_file_is_an_alarm(tmp_path, vault):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        patient = await bench.add_patient()
        lost, cut = [(await bench.add(content(1000), patient=patient)).document for _ in range(2)]
        for path in bench.sealed_files:
            if path.name.startswith(lost):
                path.unlink()
            else:
                path.write_bytes(path.read_bytes()[:-1])
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert "praxis_documents_missing 2.0" in render()
        with pytest.raises(NotFound, match="document"):
            await bench.read(lost)
        with pytest.raises(Tampered, match="document_file"):
            await bench.read(cut)


async def test_a_changed_file_is_tampered_and_never_complete(bench):
    patient = await bench.add_patient()
    document = (await bench.add(content(300_000), patient=patient)).document
    (path,) = bench.sealed_files
    changed = bytearray(path.read_bytes())
    changed[150_000] ^= 1
    path.write_bytes(changed)
    with pytest.raises(Tampered, match="envelope_segment"):
        await bench.read(document)


async def test_idempotency_key_gives_the_same_document_again(bench, vault):
    device = vault.log_in("device", "Praxissoftware")
    patient = await bench.add_patient(number="4711")
    match = Person(family_name="Muster", given_name="Erika", birth_date="1980-02-29", number="4711")
    sent = content(700_000)
    fields = {"session": device, "match": match, "idempotency_key": "k-1"}
    first = await bench.add(sent, **fields)
    assert (first.patient, first.repeated) == (patient, False)
    again = await bench.add(sent, **fields)
    assert (again.document, again.patient, again.repeated) == (first.document, patient, True)
    assert len(bench.sealed_files) == 1
    with pytest.raises(Invalid, match="idempotency_key"):
        await bench.add(sent + b"x", **fields)
    other = vault.log_in("device", "Another")
    assert not (await bench.add(sent, **fields | {"session": other})).repeated


async def test_idempotency_key_twice_at_once_stores_one_document(bench, vault):
    patient = await bench.add_patient()
    sent = content(400_000)
    answers = await asyncio.gather(*(bench.add(sent, patient=patient, idempotency_key="k") for _ in range(3)))
    assert len({answer.document for answer in answers}) == len(bench.sealed_files) == 1
    assert sorted(answer.repeated for answer in answers) == [False, True, True]
    assert (await bench.actions()).count("document_added") == 1


async def test_idempotency_key_of_an_erased_document_is_free_again(bench):
    patient = await bench.add_patient()
    first = await bench.add(PDF, patient=patient, idempotency_key="k")
    await bench.ask(EraseDocument, document=first.document, reason="no_record")
    again = await bench.add(PDF, patient=patient, idempotency_key="k")
    assert not again.repeated
    assert again.document != first.document


async def test_an_erased_document_is_gone_from_rows_and_disk(bench):
    patient = await bench.add_patient()
    document = (await bench.add(content(1000), patient=patient)).document
    await bench.ask(EraseDocument, document=document, reason="no_record")
    assert bench.sealed_files == []
    with pytest.raises(NotFound, match="document"):
        await bench.read(document)
    with pytest.raises(NotFound, match="document"):
        await bench.ask(EraseDocument, document=document, reason="no_record")
    assert (await bench.actions())[-1] == "document_erased_no_record"


async def test_every_reading_from_the_start_is_in_the_log(bench):
    patient = await bench.add_patient()
    document = (await bench.add(content(1000), patient=patient)).document
    await bench.read(document)
    await bench.read(document, 500)
    await bench.read(document)
    assert (await bench.actions()).count("document_read") == 2


async def test_a_reading_that_skips_the_first_byte_is_in_the_log_too(bench):
    patient = await bench.add_patient()
    document = (await bench.add(content(1000), patient=patient)).document
    await bench.read(document, 1)
    assert (await bench.actions()).count("document_read") == 1


async def test_device_token_reads_nothing(bench, vault):
    patient = await bench.add_patient(number="1")
    document = (await bench.add(PDF, patient=patient)).document
    device = vault.log_in("device", "Praxissoftware")
    person = Person(family_name="Muster", given_name="Erika", birth_date="1980-02-29")
    fields = {
        "patient": patient,
        "document": document,
        "share": "0" * 32,
        "person": person,
        "documents": [document],
        "shares": ["0" * 32],
    }
    tried = 0
    for verb in RECORDS.verbs.values():
        if verb is AddDocument:
            continue
        own = {field: fields[field] for field in verb.__struct_fields__ if field in fields and field != "session"}
        asked = verb.stream == "none"
        refused = bench.ask(verb, session=device, **own) if asked else bench.read(document, session=device)
        with pytest.raises(Refused, match="session_kind"):
            await refused
        tried += 1
    assert tried == len(RECORDS.verbs) - 1
    with pytest.raises(Refused, match="session_kind"):
        await bench.add(PDF, session=device, patient=patient)
    with pytest.raises(Refused, match="session_kind"):
        await bench.add(PDF, session=device, patient=patient, match=person)
    assert (await bench.add(PDF, session=device, match=person)).patient == patient


async def test_without_a_live_session_nothing_is_answered(bench):
    with pytest.raises(Refused, match="session"):
        await bench.ask(FindPatients, session="x" * 40)
    with pytest.raises(Refused, match="session"):
        await bench.add(PDF, session="x" * 40, patient="0" * 32)


async def test_reads_are_capped_for_a_member_of_staff(bench, vault, monkeypatch):
    monkeypatch.setattr(bench.archive.sessions._reads, "_count", 3)
    patient = await bench.add_patient()
    documents = [(await bench.add(PDF, patient=patient)).document for _ in range(4)]
    for document in documents[:3]:
        await bench.read(document)
        await bench.read(document)  # the same one again costs nothing
    with pytest.raises(Unavailable, match="read_limit"):
        await bench.read(documents[3])
    assert await bench.read(documents[3], session=vault.log_in()) == PDF
    bench.clock.now += 601
    assert await bench.read(documents[3]) == PDF


async def test_no_plaintext_of_a_document_touches_the_disk(bench):
    patient = await bench.add_patient()
    canary = b"canary-" + os.urandom(16).hex().encode()
    document = (await bench.add(PDF + canary * 40_000, patient=patient, name="Canary-Name.pdf")).document
    share_files = [path for path in bench.state.rglob("*") if path.is_file()]
    assert len(share_files) >= 2
    for path in share_files:
        raw = path.read_bytes()
        assert canary not in raw
        assert b"Canary-Name" not in raw
    assert document


async def test_a_large_document_needs_little_memory(bench):
    patient = await bench.add_patient()
    await bench.add(content(2_000_000), patient=patient)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = PDF + bytes(96_000_000)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await bench.add(sent, patient=patient, piece_bytes=262_144)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own
    assert grown < 16 * 1024, (before, own, grown)  # KiB


async def test_the_writer_starts_to_write_back_early(bench, monkeypatch):
    monkeypatch.setattr(sealed_files, "WRITEBACK_BYTES", 200_000)
    patient = await bench.add_patient()
    sent = content(1_000_000)
    document = (await bench.add(sent, patient=patient)).document
    assert await bench.read(document) == sent
