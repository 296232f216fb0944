"""The box is lost; another one, with another TPM, has everything back from two sheets and what was fetched."""

import asyncio
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from appliance.contracts.records import (
    RECORDS,
    CreateShare,
    DropEarlierShares,
    FindPatients,
    ListEarlierShares,
    ReadPatient,
    ReadRetention,
    SearchDocuments,
)
from appliance.contracts.snapshots import (
    AbandonRestore,
    AdoptFiles,
    FinishRestore,
    MakeSnapshot,
    OpenCopy,
    WriteErasedList,
)
from appliance.contracts.vault import (
    BeginRestore,
    OpenGeneration,
    OpenOldDatabase,
    OpenShare,
    ReadPin,
    SealGeneration,
)
from appliance.core.errors import Invalid, NotFound, Refused, Tampered, Unavailable
from appliance.core.metrics import render
from appliance.formats.envelope import DocumentOpener
from appliance.formats.kit_key import of_seed
from appliance.formats.kit_sheets import combine_sheets
from appliance.formats.share_link import derive, manifest_key, parse_secret
from appliance.formats.share_manifest import open_manifest, parse_key, sealed_on
from appliance.records import documents, erased, erasure, restore, schema, turning
from appliance.records.database import Database
from appliance.vault.kit import prove_erased_list
from tests.records.bench import PDF
from tests.records.dying_restore import ABANDONED, FINISHING, MOMENTS
from tests.records.lost_box import NOW, LostBox, lose_a_box, new_box, restore_all
from tests.records.test_sealed_for import PICTURE, read_preview
from tests.vault.bench import PASSWORD
from tests.vault.test_kit import made_kit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lost(tmp_path_factory) -> LostBox:
    return asyncio.run(lose_a_box(tmp_path_factory.mktemp("lost")))


@pytest.fixture
async def side(tmp_path, lost):
    async with new_box(tmp_path / "new", lost) as side:
        yield side


@pytest.fixture
async def bench(side):
    async with side.records() as bench:
        yield bench


def digests(contents):
    return {document: hashlib.sha256(content).hexdigest() for document, content in contents.items()}


async def all_back(bench, lost):
    """Every document of the lost box that was not erased is here, and opens; nothing else is."""
    found = {}
    for patient in (await bench.ask(FindPatients)).patients:
        for document in (await bench.ask(ReadPatient, patient=patient.patient)).documents:
            found[document.document] = await bench.read(document.document)
    assert digests(found) == digests(lost.left)
    assert sorted(patient.patient for patient in (await bench.ask(FindPatients)).patients) == sorted(lost.patients)
    named = await bench.archive.database.run(lambda rows: len(rows.all("SELECT file FROM previews")) + len(found))
    assert len(bench.sealed_files) == named
    assert bench.incoming == []


async def nothing_here(bench):
    assert (await bench.ask(FindPatients)).patients == []
    assert bench.sealed_files == []
    assert bench.incoming == []
    for table in (
        "documents",
        "previews",
        "document_texts",
        "document_words",
        "earlier_shares",
        "restore",
        "restore_keys_lost",
    ):
        assert await bench.archive.database.run(lambda rows, table=table: rows.all(f"SELECT * FROM {table}")) == []  # noqa: S608


async def test_every_document_is_back_on_another_box_with_another_tpm(bench, lost):
    assert bench.archive.box.box != lost.box
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    assert (opened.box, opened.generation) == (lost.box, NOW)
    assert (opened.contents.patients, opened.contents.documents) == (3, len(lost.contents))
    half = len(opened.folders) // 2
    adopted = [
        await bench.snapshots.ask(AdoptFiles(folders=folders))
        for folders in (opened.folders[:half], opened.folders[half:])
    ]
    assert sum(each.files for each in adopted) == opened.contents.files
    assert sum(each.bytes for each in adopted) == opened.contents.bytes
    restored = await bench.snapshots.ask(FinishRestore())
    assert (restored.erased, restored.missing, restored.shares) == (3, 0, 1)
    assert restored.contents.documents == len(lost.left)
    await all_back(bench, lost)
    assert await read_preview(bench, lost.with_preview) == PICTURE
    assert (await bench.actions())[-1] != "restore_begun"
    assert "restore_finished" in await bench.actions()


async def test_search_retention_and_new_documents_work_as_before(bench, lost):
    await restore_all(bench, lost)
    found = (await bench.ask(SearchDocuments, text="kernspin")).documents
    assert {each.document.document for each in found} == {*lost.left} - {lost.with_preview}
    period = await bench.ask(ReadRetention, patient=lost.patients[0])
    assert period.until > NOW
    assert not period.over
    added = await bench.add(PDF + b"new", patient=lost.patients[0], title="Kernspin danach")
    found = (await bench.ask(SearchDocuments, text="kernspin")).documents
    assert found[0].document.document == added.document


async def test_dead_shares_are_listed_and_one_made_anew_opens_old_and_new_documents(side, bench, lost):
    await restore_all(bench, lost)
    (share,) = (await bench.ask(ListEarlierShares)).shares
    assert sorted(share.documents) == sorted(set(lost.shared) - set(lost.gone))
    new = (await bench.add(PDF + b"new", patient=share.patient)).document
    made = await bench.ask(CreateShare, patient=share.patient, documents=[*share.documents, new])
    await bench.ask(DropEarlierShares, shares=[share.share])
    assert (await bench.ask(ListEarlierShares)).shares == []
    keys = derive(parse_secret(made.link.split("#")[1]))
    pin = (await side.vault.ask(ReadPin(session=bench.session, share=made.share))).pin
    opened = await side.vault.ask(OpenShare(proof=keys.proof, pin=pin))
    folder, box = bench.state / "spool" / keys.locator, bytes.fromhex(opened.box)
    key = manifest_key(keys.wrap_key, opened.r)
    manifest = open_manifest((folder / "manifest").read_bytes(), key, box, keys.locator, opened.expires_at)
    assert {each.id: each.box for each in manifest.documents} == dict.fromkeys(share.documents, lost.box) | {
        new: None
    }
    for each in manifest.documents:
        opener = DocumentOpener(parse_key(each.key), sealed_on(each, box), bytes.fromhex(each.id), each.length)
        content = opener.open((folder / each.file).read_bytes()) + opener.finish()
        assert content == lost.contents.get(each.id, PDF + b"new")


async def test_what_was_erased_again_opens_nowhere_and_stays_on_the_list(bench, lost):
    earlier = ("f" * 32, NOW - 5)  # erased before this generation; an older one has it still
    lay_list(bench, lost, documents=[*(await old_list(bench)).documents, earlier])
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    files = await bench.archive.database.run(
        lambda rows: [documents.find(rows, document).file for document in lost.gone]
    )
    assert all(bench.archive.files.path(file).exists() for file in files)
    await bench.snapshots.ask(FinishRestore())
    assert not any(bench.archive.files.path(file).exists() for file in files)
    for document in lost.gone:
        with pytest.raises(NotFound, match="document"):
            await bench.read(document)
    assert await bench.archive.database.run(erasure.due) is not None
    assert await turning.turn(bench.archive)
    await all_back(bench, lost)
    await bench.snapshots.ask(WriteErasedList())
    listed = json.loads((bench.state / "snapshot" / "erased.json").read_bytes())
    assert {document for document, _ in listed["documents"]} == {*lost.gone, "f" * 32}
    assert len(listed["patients"]) == 1


async def test_a_restored_box_is_backed_up_and_restored_again(tmp_path, side, lost):
    """Documents of the first box keep its name over two restores; the second box's own get the second's."""

    async with side.records() as bench:
        await restore_all(bench, lost)
        kit = await made_kit(side.vault, side.session)
        new = (await bench.add(PDF + b"second", patient=lost.patients[0])).document
        await bench.snapshots.ask(MakeSnapshot())
        await bench.snapshots.ask(WriteErasedList())
        bundle = (await side.vault.ask(SealGeneration(generation=NOW + 9))).bundle
        second = LostBox(
            bench.archive.box.box, kit.sheets, bundle, b"", b"", tmp_path / "again", patients=lost.patients
        )
        second.contents = lost.left | {new: PDF + b"second"}
        shutil.copytree(bench.state / "snapshot", second.fetched / "snapshot")
    async with new_box(tmp_path / "third", second) as third, third.records() as bench:
        restored = await restore_all(bench, second)
        assert (restored.erased, restored.missing, restored.shares) == (0, 0, 1)
        await all_back(bench, second)
        boxes = await bench.archive.database.run(lambda rows: rows.all("SELECT document, sealed_for FROM documents"))
        assert dict(boxes) == dict.fromkeys(lost.left, lost.box) | {new: second.box}


async def test_while_a_restore_stands_no_other_verb_is_answered_also_after_a_start(side, lost):
    person = {"family_name": "A", "given_name": "B", "birth_date": "1980-01-01"}
    fields = {
        "patient": "0" * 32,
        "document": "0" * 32,
        "share": "0" * 32,
        "person": person,
        "documents": ["0" * 32],
        "shares": ["0" * 32],
        "kind": "finding",
        "title": "t",
        "name": "n.pdf",
        "media_type": "application/pdf",
    }

    async def all_refused(bench):
        for verb in RECORDS.verbs.values():
            call = verb(
                session=bench.session, **{name: fields[name] for name in verb.__struct_fields__ if name in fields}
            )
            with pytest.raises(Unavailable, match="restoring"):
                if verb.stream == "none":
                    await bench.peer.ask(call)
                elif verb.stream == "out":
                    [piece async for piece in bench.peer.receive(call)]
                else:
                    async with bench.peer.send(call) as upload:
                        await upload.finish()
        with pytest.raises(Unavailable, match="restoring"):
            await bench.snapshots.ask(MakeSnapshot())
        assert not await turning.turn(bench.archive)

    async with side.records() as bench:
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
        await all_refused(bench)
    async with side.records() as bench:
        await all_refused(bench)
        assert "praxis_documents_missing 0.0" in render()  # what still comes is not lost
        restored = await restore_all(bench, lost)
        assert restored.missing == 0
        await all_back(bench, lost)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_restore_that_a_cut_ended_goes_on(side, lost, moment):
    await die(side, lost, moment)
    async with side.records() as bench:
        if moment in FINISHING:  # vault may have forgotten the old keys already; nobody needs them any more
            restored = await bench.snapshots.ask(FinishRestore())
        else:
            restored = await restore_all(bench, lost)
        assert (restored.erased, restored.missing, restored.shares) == (3, 0, 1)
        await all_back(bench, lost)
    async with side.records() as bench:
        await all_back(bench, lost)


@pytest.mark.parametrize("moment", ABANDONED)
async def test_giving_up_that_a_cut_ended_goes_on(side, lost, moment):
    await die(side, lost, moment)
    async with side.records() as bench:
        with pytest.raises(Unavailable, match="restoring"):
            await bench.ask(FindPatients)
        await bench.snapshots.ask(AbandonRestore())
        await nothing_here(bench)
        await restore_all(bench, lost)
        await all_back(bench, lost)


async def die(side, lost, moment):
    command = [sys.executable, "-m", "tests.records.dying_restore", str(side.folder), side.session]
    died = await asyncio.create_subprocess_exec(*command, lost.bundle.hex(), moment, cwd=ROOT, stderr=subprocess.PIPE)
    _, told = await died.communicate()
    assert died.returncode == 9, told.decode()


async def test_a_restore_is_given_up_and_nothing_is_left(bench, lost):
    await bench.snapshots.ask(AbandonRestore())
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    await bench.snapshots.ask(AbandonRestore())
    await nothing_here(bench)
    assert await bench.add_patient()
    with pytest.raises(Refused, match="no_copy"):
        await bench.snapshots.ask(FinishRestore())


async def test_another_generation_begins_anew(bench, lost):
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    again = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    assert again.folders == []
    other = await bench.snapshots.ask(OpenCopy(bundle=lost.other_bundle))
    assert (other.generation, other.folders) == (NOW + 1, opened.folders)
    assert bench.sealed_files == []
    await bench.snapshots.ask(AdoptFiles(folders=other.folders))
    assert (await bench.snapshots.ask(FinishRestore())).missing == 0
    await all_back(bench, lost)


async def test_a_box_with_patients_is_not_restored_over(bench, lost):
    await bench.add_patient("Eigen")
    with pytest.raises(Refused, match="not_empty"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    assert len((await bench.ask(FindPatients)).patients) == 1


async def test_steps_out_of_turn_are_refused(bench, lost):
    with pytest.raises(Refused, match="no_copy"):
        await bench.snapshots.ask(AdoptFiles(folders=["00"]))
    with pytest.raises(Refused, match="no_copy"):
        await bench.snapshots.ask(FinishRestore())
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders[1:]))
    with pytest.raises(Refused, match="folders_left"):
        await bench.snapshots.ask(FinishRestore())


async def test_the_old_keys_are_forgotten_at_the_end(side, bench, lost):
    await restore_all(bench, lost)
    with pytest.raises(Refused, match="no_restore"):
        await side.vault.ask(OpenOldDatabase())


async def test_sheets_of_another_kit_open_nothing(tmp_path, side, bench, lost):

    other = await made_kit(side.vault, side.session)
    first, second, _ = other.sheets
    await side.vault.ask(BeginRestore(session=side.session, password=PASSWORD, first=first, second=second))
    with pytest.raises(Refused, match="bundle_of_other_kit"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await nothing_here(bench)


async def test_a_changed_bundle_opens_nothing(bench, lost):
    for place in (len(lost.bundle) - 1, len(lost.bundle) // 2):
        changed = bytearray(lost.bundle)
        changed[place] ^= 1
        with pytest.raises(Tampered, match="bundle"):
            await bench.snapshots.ask(OpenCopy(bundle=bytes(changed)))
    await nothing_here(bench)


@pytest.mark.parametrize("change", ["a page", "cut", "empty", "missing"])
async def test_a_changed_database_is_not_taken(bench, lost, change):
    path = bench.restored / "snapshot" / "current" / "records.db"
    raw = bytearray(path.read_bytes())
    if change == "a page":
        raw[len(raw) - 2000] ^= 1
    elif change == "cut":
        del raw[len(raw) // 2 :]
    else:
        raw.clear()
    path.unlink()
    if change != "missing":
        path.write_bytes(raw)
    family, code = (NotFound, "copy") if change == "missing" else (Tampered, "copy_database")
    with pytest.raises(family, match=code):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await nothing_here(bench)


async def test_an_older_copy_beside_a_newer_bundle_is_not_taken(bench, lost):
    with pytest.raises(Tampered, match="copy_database"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.later_bundle))
    await nothing_here(bench)
    await restore_all(bench, lost)
    await all_back(bench, lost)


@pytest.mark.parametrize("size", ["grows", "shrinks"])
async def test_not_more_is_copied_than_there_was_room_looked_for(bench, lost, monkeypatch, size):
    path = bench.restored / "snapshot" / "current" / "records.db"

    def change_then(*_):
        if size == "grows":
            with path.open("ab") as file:
                file.write(bytes(4096))
        else:
            os.truncate(path, path.stat().st_size - 4096)

    async def never(*_):
        pytest.fail("another size than was looked at")

    monkeypatch.setattr(bench.archive.files, "check_free_space", change_then)
    monkeypatch.setattr(restore, "_make_ready", never)
    with pytest.raises(Tampered, match="copy_database"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    assert bench.incoming == []


async def test_a_disk_that_fills_while_the_copy_is_laid_beside_is_told(bench, lost, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(restore, "_copy", full)
        with pytest.raises(Unavailable, match="disk_full"):
            await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    assert bench.incoming == []
    await restore_all(bench, lost)
    await all_back(bench, lost)


@pytest.mark.parametrize("change", ["changed", "cut", "missing"])
async def test_a_changed_or_missing_file_is_counted_and_everything_else_is_back(bench, lost, change):
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    kept = next(iter(set(lost.left) - {lost.with_preview}))
    file = await bench.archive.database.run(lambda rows: documents.find(rows, kept).file)
    path = bench.restored / "snapshot" / "current" / "sealed" / file
    raw = path.read_bytes()
    path.unlink()
    if change != "missing":
        path.write_bytes(raw[:-1] + (b"" if change == "cut" else bytes([raw[-1] ^ 1])))
    adopted = await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    assert (adopted.missing, adopted.files) == (1, opened.contents.files - 1)
    if change == "missing":  # it was the only one of its folder: the store may have been away
        await bench.snapshots.ask(AdoptFiles(folders=[file[:2]]))
    restored = await bench.snapshots.ask(FinishRestore())
    assert restored.missing == 1
    assert "praxis_documents_missing 1.0" in render()
    with pytest.raises(NotFound, match="document"):
        await bench.read(kept)
    for document, content in lost.left.items():
        if document != kept:
            assert await bench.read(document) == content


async def test_a_folder_of_which_nothing_came_is_left_until_it_is_asked_for_again(side, lost):
    """Its files are not lost because a store was away; and a store that never has them does not stop the end."""
    async with side.records() as bench:
        opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
        sealed = bench.restored / "snapshot" / "current" / "sealed"
        away, gone = opened.folders[:2]
        for folder in (away, gone):
            (sealed / folder).rename(sealed / f"{folder}-away")
        missing = (await bench.snapshots.ask(AdoptFiles(folders=opened.folders))).missing
        assert missing >= 2
        with pytest.raises(Refused, match="folders_left"):
            await bench.snapshots.ask(FinishRestore())
        assert (await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))).folders == [away, gone]
    async with side.records() as bench:
        assert (await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))).folders == [away, gone]
        (sealed / f"{away}-away").rename(sealed / away)
        again = await bench.snapshots.ask(AdoptFiles(folders=[away, gone]))
        assert again.files >= 1
        assert (await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))).folders == []
        await bench.snapshots.ask(FinishRestore())


async def test_a_folder_that_comes_again_makes_good_what_was_missing(bench, lost):
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    sealed = bench.restored / "snapshot" / "current" / "sealed"
    sealed.rename(sealed.with_name("late"))
    assert (await bench.snapshots.ask(AdoptFiles(folders=opened.folders))).missing == opened.contents.files
    sealed.with_name("late").rename(sealed)
    for _ in range(2):
        adopted = await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
        assert (adopted.files, adopted.missing) == (opened.contents.files, 0)
    assert (await bench.snapshots.ask(FinishRestore())).missing == 0


async def test_the_reserve_of_the_disk_is_kept(bench, lost, monkeypatch):
    monkeypatch.setattr(bench.archive.files, "reserve_bytes", 1 << 60)
    with pytest.raises(Unavailable, match="disk_full"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    monkeypatch.setattr(bench.archive.files, "reserve_bytes", 0)
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    monkeypatch.setattr(bench.archive.files, "reserve_bytes", 1 << 60)
    with pytest.raises(Unavailable, match="disk_full"):
        await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    assert bench.incoming == []
    monkeypatch.setattr(bench.archive.files, "reserve_bytes", 0)
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    assert (await bench.snapshots.ask(FinishRestore())).missing == 0
    await all_back(bench, lost)


async def old_list(bench):
    return erased.decode((bench.restored / "snapshot" / "erased.json").read_bytes())[0]


def lay_list(bench, lost, *, key=None, **fields):
    """Lay a list that names something else, proven by the lost box's kit, or by another key."""
    path = bench.restored / "snapshot" / "erased.json"
    named = replace(erased.decode(path.read_bytes())[0], **fields)
    key = key or of_seed(combine_sheets(*lost.sheets[:2])[0]).authentication_key
    path.write_bytes(erased.encode(named, prove_erased_list(key, lost.box, named.digest())))


async def all_adopted(bench, lost):
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders))


@pytest.mark.parametrize(
    "forged", ["named more", "named less", "other key", "another box", "no proof", "half a proof"]
)
async def test_a_list_that_no_box_of_the_kit_wrote_erases_nothing(bench, lost, forged):
    await all_adopted(bench, lost)
    path = bench.restored / "snapshot" / "erased.json"
    right, before = path.read_bytes(), {*bench.sealed_files}
    written = json.loads(right)
    everyone = [[patient, NOW] for patient in lost.patients]
    if forged == "other key":
        lay_list(bench, lost, key=b"k" * 32, patients=[tuple(each) for each in everyone])
    else:
        change = {
            "named more": {"patients": everyone},
            "named less": {"documents": [], "patients": []},
            "another box": {"box": "0" * 32},
            "no proof": {"proof": "", "patients": everyone},
            "half a proof": {"proof": written["proof"][:32]},
        }[forged]
        path.write_text(json.dumps(written | change))
    with pytest.raises(Tampered, match="erased_list"):
        await bench.snapshots.ask(FinishRestore())
    assert {*bench.sealed_files} == before
    path.write_bytes(right)
    assert (await bench.snapshots.ask(FinishRestore())).erased == 3
    await all_back(bench, lost)


async def test_a_list_that_is_not_there_ends_no_restore_unless_there_is_none_left(bench, lost):
    await all_adopted(bench, lost)
    (bench.restored / "snapshot" / "erased.json").unlink()
    with pytest.raises(NotFound, match="erased_list"):
        await bench.snapshots.ask(FinishRestore())
    with pytest.raises(Unavailable, match="restoring"):
        await bench.ask(FindPatients)
    restored = await bench.snapshots.ask(FinishRestore(without_list=True))
    assert (restored.erased, restored.contents.documents) == (0, len(lost.contents))
    assert await bench.read(lost.gone[0]) == lost.contents[lost.gone[0]]


async def test_a_list_that_is_proven_counts_also_for_who_says_there_is_none(bench, lost):
    await all_adopted(bench, lost)
    assert (await bench.snapshots.ask(FinishRestore(without_list=True))).erased == 3
    await all_back(bench, lost)


async def test_a_list_that_names_everything_counts_if_it_is_proven(bench, lost):
    lay_list(bench, lost, documents=[(document, NOW) for document in lost.contents])
    await all_adopted(bench, lost)
    restored = await bench.snapshots.ask(FinishRestore())
    assert (restored.erased, restored.contents.documents) == (len(lost.contents), 0)
    assert bench.sealed_files == []


async def test_a_restore_cut_after_the_erasure_ends_without_list_and_old_keys(side, lost):
    await die(side, lost, "end not synced")
    (side.folder / "restored" / "snapshot" / "erased.json").unlink()
    with pytest.raises(Refused, match="no_restore"):
        await side.vault.ask(OpenOldDatabase())
    async with side.records() as bench:
        assert (await bench.snapshots.ask(FinishRestore())).erased == 3
        await all_back(bench, lost)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version":2}', b"\xff"])
async def test_a_list_that_is_none_ends_no_restore(bench, lost, content):
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    path = bench.restored / "snapshot" / "erased.json"
    right = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(Tampered, match="erased_list"):
        await bench.snapshots.ask(FinishRestore())
    with pytest.raises(Unavailable, match="restoring"):
        await bench.ask(FindPatients)
    path.write_bytes(right)
    await bench.snapshots.ask(FinishRestore())
    await all_back(bench, lost)


async def with_old_copy(side, lost, work):
    """Change the fetched copy as the old box itself would have written it."""

    await side.vault.ask(OpenGeneration(bundle=lost.bundle))
    key = (await side.vault.ask(OpenOldDatabase())).key
    copy = await Database.open(side.folder / "restored" / "snapshot" / "current" / "records.db", key, "copy")
    try:
        await copy.run(work)
    finally:
        copy.close()


async def test_a_key_that_was_lost_already_costs_its_document_and_no_other(side, bench, lost):
    """One whose file is missing too counts once; one that was erased since does not count."""
    kept = sorted(set(lost.left) - {lost.with_preview})
    spoilt = [kept[0], kept[1], lost.gone[0]]

    def spoil(rows):
        for document in spoilt:
            rows.change("UPDATE documents SET wrapped_key = zeroblob(60) WHERE document = ?", document)
        rows.change("UPDATE previews SET wrapped_key = zeroblob(60)")

    await with_old_copy(side, lost, spoil)
    opened = await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    file = await bench.archive.database.run(lambda rows: documents.find(rows, kept[1]).file)
    (bench.restored / "snapshot" / "current" / "sealed" / file).unlink()
    for _ in range(2):
        await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
    restored = await bench.snapshots.ask(FinishRestore())
    assert (restored.erased, restored.missing, restored.contents.documents) == (3, 3, len(lost.left))
    for document in spoilt:
        with pytest.raises((NotFound, Tampered)):
            await bench.read(document)
    for document in set(lost.left) - set(spoilt):
        assert await bench.read(document) == lost.contents[document]
    assert await turning.turn(bench.archive)
    assert await bench.read(kept[2]) == lost.contents[kept[2]]
    assert await bench.archive.database.run(lambda rows: rows.all("SELECT * FROM restore_keys_lost")) == []


async def test_what_the_copy_says_was_erased_before_it_stays_on_the_list(side, bench, lost):
    """A list of before may be all that the store gives; this box's own comes with its backups from then on."""
    before = ("e" * 32, "d" * 32)

    def erased_before(rows):
        rows.change("INSERT INTO erased VALUES ('document', ?, ?)", before[0], NOW - 9)
        rows.change("INSERT INTO erased VALUES ('patient', ?, ?)", before[1], NOW - 9)

    await with_old_copy(side, lost, erased_before)
    await all_adopted(bench, lost)
    await bench.snapshots.ask(AbandonRestore())
    assert await bench.archive.database.run(lambda rows: rows.all("SELECT identifier FROM erased")) == []
    assert (await restore_all(bench, lost)).erased == 3
    await bench.snapshots.ask(WriteErasedList())
    listed = json.loads((bench.state / "snapshot" / "erased.json").read_bytes())
    assert {identifier for identifier, _ in listed["documents"]} == {*lost.gone, before[0]}
    assert before[1] in {identifier for identifier, _ in listed["patients"]}
    assert await bench.archive.database.run(lambda rows: rows.all("SELECT * FROM restore_erased")) == []


async def test_a_file_name_that_leads_elsewhere_is_not_taken(side, bench, lost):
    await with_old_copy(
        side,
        lost,
        lambda rows: rows.change(
            "UPDATE documents SET file = '00/../../records.db' WHERE document = ?", next(iter(lost.left))
        ),
    )
    with pytest.raises(Tampered, match="copy_database"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await nothing_here(bench)


async def test_a_copy_of_an_earlier_release_is_brought_up_to_date(side, bench, lost):
    """It has none of the tables and columns that came with backups."""

    def as_before(rows):
        for table in (
            "erased",
            "last_snapshot",
            "restore",
            "restore_folders",
            "restore_erased",
            "restore_keys_lost",
            "earlier_share_documents",
            "earlier_shares",
        ):
            rows.change(f"DROP TABLE {table}")
        for table in ("documents", "previews"):
            rows.change(f"ALTER TABLE {table} DROP COLUMN sealed_for")
        rows.change("PRAGMA user_version = 4")

    await with_old_copy(side, lost, as_before)
    restored = await restore_all(bench, lost)
    assert (restored.erased, restored.missing, restored.shares) == (3, 0, 0)
    await all_back(bench, lost)


async def test_a_copy_of_a_later_release_is_not_opened(side, bench, lost):
    await with_old_copy(side, lost, lambda rows: rows.change(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}"))
    with pytest.raises(Invalid, match="database_version"):
        await bench.snapshots.ask(OpenCopy(bundle=lost.bundle))
    await nothing_here(bench)
