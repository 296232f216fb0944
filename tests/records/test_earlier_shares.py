"""Shares that died with the box before are listed until they are made anew, dropped, or their documents are erased."""

from appliance.contracts.records import (
    CreateShare,
    DeletePatient,
    DropEarlierShares,
    EraseDocument,
    ListEarlierShares,
    TakeRevoked,
)
from appliance.records import earlier_shares
from tests.records.bench import PDF


async def listed(bench):
    return (await bench.ask(ListEarlierShares)).shares


async def test_open_shares_are_noted_with_names_titles_and_documents_and_ended_ones_are_not(bench, vault):
    patient = await bench.add_patient()
    one, two = [(await bench.add(PDF, patient=patient, title=title)).document for title in ("Eins", "Zwei")]
    made = await bench.ask(CreateShare, patient=patient, documents=[one, two])
    await bench.ask(CreateShare, patient=patient, documents=[one], valid_days=1)
    await bench.archive.database.run(lambda rows: earlier_shares.note_live(rows, vault.now + 86400))
    (share,) = await listed(bench)
    assert (share.patient, share.patient_name, share.expires_at) == (patient, "Muster, Erika", made.expires_at)
    assert dict(zip(share.documents, share.titles, strict=True)) == {one: "Eins", two: "Zwei"}
    assert share.share != made.share
    assert await bench.archive.database.run(earlier_shares.count) == 1


async def test_what_was_dropped_is_not_listed_again(bench):
    patient = await bench.add_patient()
    document = (await bench.add(PDF, patient=patient)).document
    for _ in range(2):
        await bench.ask(CreateShare, patient=patient, documents=[document])
    await bench.archive.database.run(lambda rows: earlier_shares.note_live(rows, 0))
    first, second = await listed(bench)
    for _ in range(2):
        await bench.ask(DropEarlierShares, shares=[first.share])
    assert await listed(bench) == [second]


async def test_what_is_erased_leaves_the_list(bench):
    patient, other = await bench.add_patient(), await bench.add_patient("Andere")
    one, two, three = [(await bench.add(PDF, patient=owner)).document for owner in (patient, patient, other)]
    for owner, documents in ((patient, [one, two]), (patient, [one]), (other, [three])):
        await bench.ask(CreateShare, patient=owner, documents=documents)
    await bench.archive.database.run(lambda rows: earlier_shares.note_live(rows, 0))
    await bench.ask(EraseDocument, document=one, reason="no_record")
    await bench.ask(DeletePatient, patient=other, reason="no_record")
    (left,) = await listed(bench)
    assert left.documents == [two]


async def test_shares_that_were_revoked_at_once_are_listed_once_and_leave_the_spool(bench, vault):
    patient = await bench.add_patient()
    document = (await bench.add(PDF, patient=patient, title="Befund")).document
    ended, live = [await bench.ask(CreateShare, patient=patient, documents=[document]) for _ in range(2)]
    folders = {path.name for path in bench.archive.spool._spool.iterdir() if path.is_dir()}
    vault.shares[ended.share].status.state = "revoked"
    for _ in range(2):
        await bench.ask(TakeRevoked, shares=[ended.share, live.share, "f" * 32])
    (one,) = await listed(bench)
    assert (one.patient_name, one.titles, one.documents) == ("Muster, Erika", ["Befund"], [document])
    left = {path.name for path in bench.archive.spool._spool.iterdir() if path.is_dir()}
    assert len(folders - left) == 1
