"""A snapshot is rows and files of one moment, sealed, readable by backup; nothing waits long for it."""

import asyncio
import errno
import hashlib
import hmac
import json
import os
import shutil
import stat
import threading

import pytest

from appliance.contracts.records import CreateShare, DeletePatient, EraseDocument, RevokeShare
from appliance.contracts.snapshots import FOLDERS, SNAPSHOTS, CheckCopy, DropSnapshot, MakeSnapshot, WriteErasedList
from appliance.core.errors import NotFound, Tampered, Unavailable
from appliance.records import copy_check, database, snapshot
from appliance.records.snapshot_folder import SnapshotFolder
from tests.records.bench import PDF, records_process
from tests.records.test_sealed_for import with_preview


def current(bench):
    return bench.state / "snapshot" / "current"


async def read(bench, work, path=None):
    copy = await bench.archive.database.open_copy(path or current(bench) / "records.db")
    try:
        return await copy.run(work)
    finally:
        copy.close()


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def named_files(rows):
    return {
        str(file): (length, bytes(digest))
        for table in ("documents", "previews")
        for file, length, digest in rows.all(f"SELECT file, sealed_length, sealed_sha256 FROM {table}")  # noqa: S608
    }


async def hold_together(bench):
    """Every file that a row of the copy names is there and is what the row says, and no other is."""
    named = await read(bench, named_files)
    found = files_of(current(bench) / "sealed")
    assert {name: (len(content), hashlib.sha256(content).digest()) for name, content in found.items()} == named
    return named


async def filled(bench):
    patient = await bench.add_patient()
    return patient, [
        await with_preview(bench, patient),
        *[(await bench.add(PDF + bytes([n]), patient=patient)).document for n in range(4)],
    ]


async def fetch(bench):
    """Lay the snapshot where backup would lay what it fetched."""
    shutil.rmtree(bench.restored, ignore_errors=True)
    shutil.copytree(bench.state / "snapshot", bench.restored / "snapshot")
    return bench.restored / "snapshot" / "current"


async def test_a_snapshot_holds_every_row_and_exactly_the_files_that_rows_name(bench):
    _, documents = await filled(bench)
    (bench.state / "sealed" / "00" / "0-no-row").write_bytes(b"an intake that has no row yet")
    made = await bench.snapshots.ask(MakeSnapshot())
    named = await hold_together(bench)
    assert (made.contents.patients, made.contents.documents, made.contents.files) == (1, len(documents), len(named))
    assert made.contents.bytes == sum(length for length, _ in named.values())
    described = json.loads((current(bench) / "contents.json").read_bytes())
    assert described == {
        "version": 1,
        "box": bench.archive.box.box,
        "taken_at": made.taken_at,
        "patients": 1,
        "documents": len(documents),
        "files": len(named),
        "bytes": made.contents.bytes,
    }
    assert set(files_of(current(bench))) == {"records.db", "contents.json", *(f"sealed/{name}" for name in named)}


async def test_the_copy_is_one_encrypted_file_that_the_group_may_read_and_nobody_else(bench, vault):
    await filled(bench)
    await bench.snapshots.ask(MakeSnapshot())
    raw = (current(bench) / "records.db").read_bytes()
    assert b"SQLite format" not in raw
    assert b"Muster" not in raw
    with pytest.raises(Tampered, match="database"):
        await database.Database.open(current(bench) / "records.db", bytes(32), "unchanging")
    for path in (bench.state / "snapshot").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640)
        assert path.stat().st_gid == os.getgid()


async def test_a_snapshot_holds_no_share_and_no_idempotency_key_but_who_had_what(bench):
    patient, documents = await filled(bench)
    await bench.add(patient=patient, idempotency_key="k")
    await bench.ask(CreateShare, patient=patient, documents=documents[:2])
    await bench.snapshots.ask(MakeSnapshot())
    for table, count in (("shares", 0), ("share_documents", 0), ("intake_keys", 0), ("earlier_shares", 1)):
        assert await read(bench, lambda rows, table=table: rows.all(f"SELECT count(*) FROM {table}")) == [(count,)]  # noqa: S608
    assert await bench.archive.database.run(lambda rows: rows.all("SELECT count(*) FROM shares")) == [(1,)]
    assert await bench.archive.database.run(lambda rows: rows.all("SELECT count(*) FROM earlier_shares")) == [(0,)]


async def test_the_copy_and_the_files_agree_while_documents_come_and_go(bench, monkeypatch):
    """Documents are added and erased the whole time; each snapshot is one moment of it."""
    monkeypatch.setattr(database, "COPY_PAGES_AT_ONCE", 1)
    patient, documents = await filled(bench)
    left, done = list(documents), []

    async def add_for_ever():
        while True:
            left.append((await bench.add(PDF + os.urandom(3000), patient=patient, title="neu")).document)
            done.append("added")

    async def erase_for_ever():
        while True:
            if len(left) > 2:
                await bench.ask(EraseDocument, document=left.pop(0), reason="no_record")
                done.append("erased")
            await asyncio.sleep(0)

    work = [asyncio.ensure_future(each) for each in (add_for_ever(), add_for_ever(), erase_for_ever())]
    try:
        seen = set()
        for _ in range(8):
            before = len(done)
            await bench.snapshots.ask(MakeSnapshot())
            assert len(done) > before, "nothing happened meanwhile"
            seen.add(frozenset(await hold_together(bench)))
            while "erased" not in done[before:]:
                await asyncio.sleep(0)
        assert len(seen) == 8
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def test_other_work_has_its_turn_while_the_database_is_copied(bench, monkeypatch):
    """What comes while the copy is made is done before the copy is, and is in it."""
    monkeypatch.setattr(database, "COPY_PAGES_AT_ONCE", 1)
    await filled(bench)
    copying = asyncio.ensure_future(bench.archive.database.copy(bench.archive.snapshot.begin()))
    await asyncio.sleep(0)
    added = await bench.archive.database.run(
        lambda rows: rows.change("INSERT INTO erased VALUES ('document', 'x', 1)")
    )
    assert added == 1
    assert not copying.done()
    copy = await copying
    try:
        assert await copy.run(lambda rows: rows.all("SELECT identifier FROM erased")) == [("x",)]
    finally:
        copy.close()


async def test_a_second_snapshot_replaces_the_first_and_what_was_erased_is_not_in_it(bench):
    _, documents = await filled(bench)
    await bench.snapshots.ask(MakeSnapshot())
    first = await hold_together(bench)
    await bench.ask(EraseDocument, document=documents[0], reason="no_record")
    assert len(await hold_together(bench)) == len(first)  # the snapshot is a moment of before
    await bench.snapshots.ask(MakeSnapshot())
    assert len(await hold_together(bench)) == len(first) - 2
    await bench.snapshots.ask(DropSnapshot())
    await bench.snapshots.ask(DropSnapshot())
    assert os.listdir(bench.state / "snapshot") == []


async def test_a_start_leaves_a_snapshot_and_removes_a_half_made_one(tmp_path, vault):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        await filled(bench)
        await bench.snapshots.ask(MakeSnapshot())
        before = files_of(current(bench))
        shutil.copytree(current(bench), bench.state / "snapshot" / ".new")
        shutil.copytree(current(bench), bench.state / "snapshot" / ".old")
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert os.listdir(bench.state / "snapshot") == ["current"]
        assert files_of(current(bench)) == before


@pytest.mark.parametrize("kit_key", [b"", b"k" * 32])
async def test_what_was_erased_is_listed_from_the_transaction_that_erases(bench, vault, kit_key):
    vault.kit_key = kit_key
    patient, documents = await filled(bench)
    other = await bench.add_patient("Andere")
    theirs = (await bench.add(patient=other)).document
    bench.clock.now += 5
    await bench.ask(EraseDocument, document=documents[0], reason="no_record")
    bench.clock.now += 5
    await bench.ask(DeletePatient, patient=other, reason="no_record")
    listed = await bench.snapshots.ask(WriteErasedList())
    assert (listed.identifiers, listed.changed_at) == (3, bench.clock.now)
    vault.kit_key = bytes(31) + b"k"
    assert await bench.snapshots.ask(WriteErasedList()) != listed  # a new kit: backup carries it out once more
    vault.kit_key = kit_key
    assert await bench.snapshots.ask(WriteErasedList()) == listed
    written = json.loads((bench.state / "snapshot" / "erased.json").read_bytes())
    rest = json.dumps(
        {key: written[key] for key in ("version", "box", "documents", "patients")}, separators=(",", ":")
    )
    proof = hmac.digest(kit_key, hashlib.sha256(rest.encode()).digest(), "sha256").hex()
    assert written == {
        "version": 1,
        "box": bench.archive.box.box,
        "documents": sorted([[documents[0], bench.clock.now - 5], [theirs, bench.clock.now]]),
        "patients": [[other, bench.clock.now]],
        "proof": proof if kit_key else "",
    }


async def test_what_was_erased_is_never_forgotten(tmp_path, vault):
    """Not after decades, not over starts, not when a snapshot no longer holds it."""
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        _, documents = await filled(bench)
        await bench.ask(EraseDocument, document=documents[0], reason="no_record")
        bench.clock.now += 30 * 365 * 86400
        await bench.snapshots.ask(MakeSnapshot())
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert (await bench.snapshots.ask(WriteErasedList())).identifiers == 1
    assert not [verb for verb in SNAPSHOTS.verbs if "Forget" in verb]


async def test_what_was_fetched_is_the_last_snapshot(bench):
    await filled(bench)
    with pytest.raises(NotFound, match="copy"):
        await bench.snapshots.ask(CheckCopy(folders=[]))
    made = await bench.snapshots.ask(MakeSnapshot())
    await fetch(bench)
    checked = await bench.snapshots.ask(CheckCopy(folders=list(FOLDERS)))
    assert checked == made.contents
    assert (await bench.snapshots.ask(CheckCopy(folders=[]))).files == 0


async def test_a_snapshot_keeps_the_reserve_of_the_disk_and_leaves_nothing_half_made(bench, monkeypatch):
    await filled(bench)
    await bench.snapshots.ask(MakeSnapshot())
    before = files_of(current(bench))
    monkeypatch.setattr(bench.archive.files, "reserve_bytes", 1 << 60)
    with pytest.raises(Unavailable, match="disk_full"):
        await bench.snapshots.ask(MakeSnapshot())
    monkeypatch.setattr(bench.archive.files, "reserve_bytes", 0)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(Unavailable, match="disk_full"):
        await bench.snapshots.ask(MakeSnapshot())
    assert os.listdir(bench.state / "snapshot") == ["current"]
    assert files_of(current(bench)) == before


@pytest.mark.parametrize("change", ["a page", "cut", "another key", "nothing"])
async def test_a_changed_database_is_not_the_copy(bench, change):
    await filled(bench)
    await bench.snapshots.ask(MakeSnapshot())
    path = await fetch(bench) / "records.db"
    raw = bytearray(path.read_bytes())
    if change == "a page":
        raw[len(raw) - 2000] ^= 1
    elif change == "cut":
        del raw[len(raw) // 2 :]
    elif change == "another key":
        raw[100:200] = os.urandom(100)
    else:
        raw.clear()
    path.write_bytes(raw)
    with pytest.raises(Tampered, match="copy_database"):
        await bench.snapshots.ask(CheckCopy(folders=[]))


async def test_an_earlier_snapshot_is_not_the_last_one(bench):
    await filled(bench)
    await bench.snapshots.ask(MakeSnapshot())
    await fetch(bench)
    await bench.snapshots.ask(MakeSnapshot())
    with pytest.raises(Tampered, match="copy_counts"):
        await bench.snapshots.ask(CheckCopy(folders=[]))


@pytest.mark.parametrize("change", ["changed", "cut", "missing", "a link"])
async def test_a_changed_or_missing_file_is_told(bench, change):
    await filled(bench)
    await bench.snapshots.ask(MakeSnapshot())
    sealed = await fetch(bench) / "sealed"
    path = min(path for path in sealed.rglob("*") if path.is_file())
    raw = path.read_bytes()
    path.unlink()
    if change == "changed":
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif change == "cut":
        path.write_bytes(raw[:-1])
    elif change == "a link":
        path.symlink_to(current(bench) / "sealed" / path.relative_to(sealed))
    with pytest.raises(Tampered, match="copy_files") as told:
        await bench.snapshots.ask(CheckCopy(folders=[path.parent.name]))
    assert told.value.details == {"count": 1}


async def test_a_file_that_is_lost_here_is_told_and_stops_no_snapshot_and_no_test(bench, monkeypatch):
    told = []
    monkeypatch.setattr(snapshot, "say", lambda event, **fields: told.append((event, fields)))
    await filled(bench)
    min(bench.sealed_files).unlink()
    made = await bench.snapshots.ask(MakeSnapshot())
    assert len(files_of(current(bench) / "sealed")) == made.contents.files - 1
    assert told == [("snapshot_files_missing", {"priority": "alert", "count": 1})]
    held = await fetch(bench)
    await bench.snapshots.ask(CheckCopy(folders=list(FOLDERS)))
    min(path for path in (held / "sealed").rglob("*") if path.is_file()).unlink()
    with pytest.raises(Tampered, match="copy_files") as refused:
        await bench.snapshots.ask(CheckCopy(folders=list(FOLDERS)))
    assert refused.value.details == {"count": 1}


async def test_shares_begin_and_end_while_a_snapshot_is_laid_out_and_an_erasure_waits(bench, monkeypatch):
    begun, goes_on, link = threading.Semaphore(0), threading.Event(), SnapshotFolder.link

    def slow(*arguments):
        begun.release()
        goes_on.wait()
        return link(*arguments)

    monkeypatch.setattr(SnapshotFolder, "link", slow)
    patient, held = await filled(bench)
    made = asyncio.ensure_future(bench.snapshots.ask(MakeSnapshot()))
    erased = None
    try:
        assert await asyncio.to_thread(begun.acquire, timeout=60)
        erased = asyncio.ensure_future(bench.ask(EraseDocument, document=held[1], reason="no_record"))
        for _ in range(2):
            share = await asyncio.wait_for(bench.ask(CreateShare, patient=patient, documents=held[2:]), 60)
            await asyncio.wait_for(bench.ask(RevokeShare, share=share.share), 60)
        assert not made.done()
        assert not erased.done()
    finally:
        goes_on.set()
    await made
    assert erased is not None
    await erased
    assert len(await hold_together(bench)) == 6  # five documents and a preview: what is erased later is in it


async def test_the_restore_test_holds_no_document_up_however_slowly_it_reads(bench, monkeypatch):
    begun, goes_on, check = threading.Semaphore(0), threading.Event(), copy_check.is_file

    def slow(*arguments):
        begun.release()
        goes_on.wait()
        return check(*arguments)

    monkeypatch.setattr(copy_check, "is_file", slow)
    _, wanted = await filled(bench)
    made = await bench.snapshots.ask(MakeSnapshot())
    await fetch(bench)
    checking = asyncio.ensure_future(bench.snapshots.ask(CheckCopy(folders=list(FOLDERS))))
    try:
        assert await asyncio.to_thread(begun.acquire, timeout=60)
        assert await asyncio.wait_for(bench.read(wanted[1]), 60) == PDF + bytes([0])
        assert not checking.done()
    finally:
        goes_on.set()
    assert await checking == made.contents


async def test_a_clock_that_is_set_back_makes_no_snapshot_older_than_the_one_before(bench):
    """A restore would take it for an older copy that was put beside a newer bundle."""
    first = await bench.snapshots.ask(MakeSnapshot())
    bench.clock.now -= 90 * 86400
    assert (await bench.snapshots.ask(MakeSnapshot())).taken_at == first.taken_at


async def test_the_last_snapshot_is_remembered_over_a_start(tmp_path, vault):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        await filled(bench)
        made = await bench.snapshots.ask(MakeSnapshot())
    async with records_process(tmp_path, vault.peer, session) as bench:
        await fetch(bench)
        assert await bench.snapshots.ask(CheckCopy(folders=list(FOLDERS))) == made.contents
        assert await bench.archive.database.run(snapshot.last) is not None
