"""Documents that another box sealed: read and shared here as there, and only under the name of the box they are of."""

import pytest

from appliance.contracts.records import CreateShare, ReadPreview
from appliance.core.errors import Tampered
from appliance.formats.share_link import derive, manifest_key, parse_secret
from appliance.formats.share_manifest import open_manifest
from appliance.records import documents, previews
from appliance.records.preview_work import PreviewWork
from tests.records.bench import PDF, records_process
from tests.records.test_shares import open_link

OLD, NEW = "a1" * 16, "b2" * 16
PICTURE = b"\xff\xd8" + bytes(5000)


async def with_preview(bench, patient):
    """Add a document whose preview is there."""
    document = (await bench.add(PDF + b"old" * 50_000, patient=patient)).document
    sealed = await bench.archive.database.run(lambda rows: documents.find(rows, document))
    await PreviewWork(bench.archive, bench.peer)._keep_picture(sealed.description, PICTURE, "")
    return document


async def seal_for(bench, box):
    def change(rows):
        rows.change("UPDATE documents SET sealed_for = ?", box)
        rows.change("UPDATE previews SET sealed_for = ?", box)

    await bench.archive.database.run(change)


async def read_preview(bench, document):
    call = ReadPreview(session=bench.session, document=document)
    return b"".join([bytes(piece) async for piece in bench.peer.receive(call)])


@pytest.fixture
async def moved(tmp_path, vault):
    """A box whose document and preview another one sealed; its own name is NEW."""
    session, vault.box = vault.log_in(), OLD
    async with records_process(tmp_path, vault.peer, session) as bench:
        patient = await bench.add_patient()
        document = await with_preview(bench, patient)
        assert await read_preview(bench, document) == PICTURE
    vault.box = NEW
    async with records_process(tmp_path, vault.peer, session) as bench:
        yield bench, patient, document


async def test_a_document_of_another_box_is_read_with_its_preview(moved):
    bench, _, document = moved
    await seal_for(bench, OLD)
    assert await bench.read(document) == PDF + b"old" * 50_000
    assert await bench.read(document, 100_000) == (PDF + b"old" * 50_000)[100_000:]
    assert await read_preview(bench, document) == PICTURE


@pytest.mark.parametrize("box", ["", NEW, "c3" * 16])
async def test_a_document_with_a_wrong_box_does_not_open(moved, box):
    bench, _, document = moved
    await seal_for(bench, box)
    with pytest.raises(Tampered):
        await bench.read(document)
    with pytest.raises(Tampered):
        await read_preview(bench, document)


async def test_a_new_document_is_this_box_s_own(moved):
    bench, patient, _ = moved
    document = await with_preview(bench, patient)
    sealed = await bench.archive.database.run(
        lambda rows: (documents.find(rows, document), previews.find(rows, document))
    )
    assert [each.sealed_for for each in sealed] == ["", ""]
    assert await bench.read(document) == PDF + b"old" * 50_000


async def test_a_share_of_both_opens_for_the_patient_and_names_the_other_box_only_where_it_must(moved, vault):
    bench, patient, old = moved
    await seal_for(bench, OLD)
    new = (await bench.add(PDF + b"new", patient=patient)).document
    made = await bench.ask(CreateShare, patient=patient, documents=[old, new])
    opened = open_link(bench, vault, made.link, exactly=False)
    assert [opened[document][2] for document in (old, new)] == [PDF + b"old" * 50_000, PDF + b"new"]
    keys = derive(parse_secret(made.link.split("#")[1]))
    manifest = open_manifest(
        (bench.state / "spool" / keys.locator / "manifest").read_bytes(),
        manifest_key(keys.wrap_key, vault.find(keys.proof).r),
        bytes.fromhex(NEW),
        keys.locator,
        made.expires_at,
    )
    first, second = manifest.documents
    assert (first.box, first.preview.box, second.box) == (OLD, OLD, None)
