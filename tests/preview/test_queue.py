"""From an acknowledged document to its preview: sealed, indexed, shared, erased; and what a bad document costs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from appliance.contracts.preview import MAX_CONTENT_BYTES, PREVIEW, MakePreview
from appliance.contracts.records import CreateShare, DeletePatient, EraseDocument, SearchDocuments
from appliance.core.errors import Invalid, NotFound
from appliance.core.varlink import Peer
from appliance.formats import share_link
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_manifest import open_manifest, parse_key
from appliance.records import previews
from tests.preview.conftest import Practice, working
from tests.preview.one_document import CRASH
from tests.preview.pictures import dicom, heic, is_upright, jpeg, opened
from tests.records.bench import records_process
from tests.simulators.preview_process import preview_processes
from tests.simulators.sample_documents import report_pdf
from tests.simulators.vault_peer import VaultPeer

ROOT = Path(__file__).parents[2]
DICOM, HEIC, PDF = "application/dicom", "image/heic", "application/pdf"


async def test_a_dicom_file_has_a_preview_and_stays_what_it_was(practice: Practice) -> None:
    content = dicom("CT_small.dcm")
    document = await practice.add(content, DICOM)
    assert (await practice.picture(document)).size == (128, 128)
    assert await practice.bench.read(document) == content
    assert await practice.processes.ended() == [0]


async def test_a_phone_s_photo_is_upright_in_its_preview(practice: Practice) -> None:
    documents = [await practice.add(heic(orientation), HEIC) for orientation in (6, 3, 8)]
    assert all([is_upright(await practice.picture(document)) for document in documents])
    assert len(await practice.processes.ended()) == 3  # a process each


async def test_the_text_of_a_pdf_is_found_and_lies_in_the_database_alone(practice: Practice) -> None:
    document = await practice.add(report_pdf(), PDF)
    await practice.settled()
    found = await practice.bench.ask(SearchDocuments, text="Ebenen Nachweis")
    assert [each.document.document for each in found.documents] == [document]
    assert await practice.sealed_preview(document) is None
    assert await practice.says(document) == "preview"
    for path in practice.bench.state.rglob("*"):
        assert not path.is_file() or b"Nachweis" not in path.read_bytes(), path


async def test_what_a_browser_shows_has_no_preview(practice: Practice) -> None:
    document = await practice.add(jpeg(6), "image/jpeg")
    await practice.settled()
    assert await practice.says(document) == "preview"
    assert await practice.processes.ended() == []


async def test_a_preview_is_sealed_under_a_key_of_its_own(practice: Practice) -> None:
    document = await practice.add(heic(6), HEIC)
    picture = await practice.picture(document)
    sealed = await practice.sealed_preview(document)
    assert sealed is not None
    (row,) = await practice.bench.archive.database.run(lambda rows: rows.all("SELECT wrapped_key FROM documents"))
    assert sealed.preview != document
    assert sealed.wrapped_key.wrapped != row[0]
    on_disk = (practice.bench.state / "sealed" / sealed.file).read_bytes()
    assert len(practice.bench.sealed_files) == 2
    assert b"JFIF" not in on_disk
    assert picture.format == "JPEG"


async def test_looking_at_a_preview_is_reading_the_document(practice: Practice) -> None:
    document = await practice.add(heic(), HEIC)
    await practice.picture(document)
    entries = [entry for entry in await practice.bench.entries() if entry.action == "document_read"]
    assert [entry.document for entry in entries] == [document]


async def test_a_pending_preview_says_so_and_an_unknown_document_too(tmp_path: Path, vault: VaultPeer) -> None:
    async with records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        practice = Practice(bench, None, await bench.add_patient())  # type: ignore[arg-type]  # nobody is at work
        document = await practice.add(heic(), HEIC)
        assert await practice.says(document) == "preview_pending"
        assert await practice.says("0" * 32) == "document"


async def shared_manifest(practice: Practice, vault: VaultPeer, documents: list[str]):
    link = (await practice.bench.ask(CreateShare, patient=practice.patient, documents=documents)).link
    keys = share_link.derive(share_link.parse_secret(link.partition("#")[2]))
    share = vault.find(keys.proof)
    folder = practice.bench.state / "spool" / keys.locator
    key = share_link.manifest_key(keys.wrap_key, share.r)
    box = bytes.fromhex(vault.box)
    return folder, open_manifest((folder / "manifest").read_bytes(), key, box, keys.locator, share.status.expires_at)


async def test_a_share_carries_the_preview_of_what_browsers_do_not_show(practice: Practice, vault: VaultPeer) -> None:
    original = heic(8)
    photo, letter = await practice.add(original, HEIC, "foto.heic"), await practice.add(report_pdf(), PDF, "b.pdf")
    await practice.settled()
    folder, manifest = await shared_manifest(practice, vault, [photo, letter])
    assert [document.preview is None for document in manifest.documents] == [False, True]
    first = manifest.documents[0]
    assert first.preview is not None
    box = bytes.fromhex(vault.box)
    for each, is_picture in ((first, False), (first.preview, True)):
        opener = DocumentOpener(parse_key(each.key), box, bytes.fromhex(each.id), each.length)
        content = opener.open((folder / each.file).read_bytes()) + opener.finish()
        assert is_upright(opened(content)) if is_picture else content == original
    assert len(list(folder.iterdir())) == 4  # manifest, two documents, one preview


async def test_a_preview_goes_with_its_document(practice: Practice) -> None:
    one, two = await practice.add(heic(), HEIC), await practice.add(dicom("MR_small.dcm"), DICOM)
    await practice.settled()
    assert len(practice.bench.sealed_files) == 4
    await practice.bench.ask(EraseDocument, document=one, reason="no_record")
    assert len(practice.bench.sealed_files) == 2
    assert await practice.says(one) == "document"
    assert await practice.sealed_preview(one) is None
    assert await practice.says(two) == "there"
    await practice.bench.ask(DeletePatient, patient=practice.patient, reason="no_record")
    assert practice.bench.sealed_files == []


async def test_a_document_erased_while_preview_looks_at_it_leaves_nothing(practice: Practice) -> None:
    document = await practice.add(heic(), HEIC)
    await practice.bench.ask(EraseDocument, document=document, reason="no_record")
    other = await practice.add(heic(), HEIC)
    await practice.picture(other)
    assert len(practice.bench.sealed_files) == 2


# --- bad documents ----------------------------------------------------------------------------------------------


def deflate_bomb() -> bytes:
    """A DICOM file whose dataset is 1.25 GiB of zeros in a megabyte (DICOM PS3.5 A.5)."""
    whole = dicom("image_dfl.dcm")
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # can be repeated
    return whole[:start] + piece * 80 + packer.flush()


async def test_a_decompression_bomb_costs_itself_its_preview_and_nobody_else(practice: Practice) -> None:
    content = await asyncio.to_thread(deflate_bomb)
    bomb = await practice.add(content, DICOM)
    after = await practice.add(heic(6), HEIC)
    assert is_upright(await practice.picture(after))
    assert await practice.says(bomb) == "preview"
    assert await practice.processes.ended() == [0, 0]  # a stated refusal, not a death
    assert await practice.bench.read(bomb) == content


async def test_a_document_that_ends_its_decoder_is_readable_and_the_queue_goes_on(practice: Practice) -> None:
    content = heic()[:200] + CRASH
    bad = [await practice.add(content, HEIC) for _ in range(2)]
    good = await practice.add(heic(6), HEIC)
    assert is_upright(await practice.picture(good))
    assert [await practice.says(document) for document in bad] == ["preview", "preview"]
    assert [await practice.bench.read(document) for document in bad] == [content, content]
    assert sorted(await practice.processes.ended()) == [-signal.SIGSEGV] * 6 + [0]  # three attempts each


async def test_the_good_ones_come_before_a_second_attempt_at_a_bad_one(tmp_path: Path, vault: VaultPeer) -> None:
    async with (
        records_process(tmp_path, vault.peer, vault.log_in()) as bench,
        preview_processes(tmp_path) as processes,
    ):
        practice = Practice(bench, processes, await bench.add_patient())
        for content in (heic()[:200] + CRASH, heic(), heic()):
            await practice.add(content, HEIC)
        async with working(bench, processes.peer):
            await practice.settled()
        assert await processes.ended() == [-signal.SIGSEGV, 0, 0, -signal.SIGSEGV, -signal.SIGSEGV]


async def test_what_was_pending_is_done_after_a_restart_and_attempts_are_kept(
    tmp_path: Path, vault: VaultPeer
) -> None:
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        practice = Practice(bench, None, await bench.add_patient())  # type: ignore[arg-type]
        document, bad = await practice.add(heic(6), HEIC), await practice.add(heic()[:200] + CRASH, HEIC)
        await bench.archive.database.run(
            lambda rows: rows.change("UPDATE pending_previews SET attempts = 2 WHERE document = ?", bad)
        )
    async with (
        records_process(tmp_path, vault.peer, session) as bench,
        preview_processes(tmp_path) as processes,
        working(bench, processes.peer),
    ):
        practice = Practice(bench, processes)
        assert is_upright(await practice.picture(document))
        assert await practice.says(bad) == "preview"
        assert await processes.ended() == [0, -signal.SIGSEGV]
    async with records_process(tmp_path, vault.peer, session) as bench:  # sweeps: previews are no orphans
        assert is_upright(opened(await Practice(bench, processes).preview(document)))


async def test_a_preview_that_cannot_be_reached_costs_no_attempt(tmp_path: Path, vault: VaultPeer) -> None:
    async with records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        practice = Practice(bench, None, await bench.add_patient())  # type: ignore[arg-type]
        document = await practice.add(heic(), HEIC)
        async with working(bench, Peer(PREVIEW, tmp_path / "nobody.sock")):
            for _ in range(50):
                await bench.archive.database.run(lambda rows: None)
        attempts = await bench.archive.database.run(lambda rows: rows.one("SELECT attempts FROM pending_previews"))
        assert attempts in ((0,), (1,))
        assert await practice.says(document) == "preview_pending"


async def test_a_document_without_an_end_is_cut_off(practice: Practice) -> None:
    """The caps of records hold first; whoever had captured records would meet these."""
    piece, sent = bytes(1 << 20), 0
    with pytest.raises(Invalid) as refused:
        async with practice.processes.peer.send(MakePreview(media_type="image/tiff")) as upload:
            while sent < 2 * MAX_CONTENT_BYTES:
                await upload.write(piece)
                sent += len(piece)
            await upload.finish()
    assert refused.value.code == "content_size"
    assert sent <= MAX_CONTENT_BYTES + (2 << 20)


def test_a_process_of_preview_is_closed_to_the_next_one() -> None:
    """Two may run for a moment, as one user: neither's memory nor descriptors are the other's (proc(5))."""
    program = (
        "import os; from appliance.core.confine import hide_memory_from_own_user as hide; os.setuid(714); "
        "before = os.stat('/proc/self/mem').st_uid; hide(); print(before, os.stat('/proc/self/mem').st_uid)"
    )
    command = [sys.executable, "-c", f"{program}"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert said[1] == "0"  # root's now: this user may not open it
    text = (ROOT / "appliance/preview/__main__.py").read_text(encoding="utf-8")
    assert text.index("    hide_memory_from_own_user()") < text.index("    run(main)")


async def test_a_document_that_is_too_large_for_preview_is_not_sent_to_it(practice: Practice, monkeypatch) -> None:
    monkeypatch.setattr(previews, "MAX_CONTENT_BYTES", 1000)
    document = await practice.add(heic(), HEIC)
    assert await practice.says(document) == "preview"
    with pytest.raises(NotFound):
        await practice.preview(document)
    assert await practice.processes.ended() == []
