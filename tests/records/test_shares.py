"""Shares: a link opens exactly its documents; ending a share or erasing a document takes them out of the spool."""

import hashlib
import os
import stat
import subprocess
import sys

import pytest

from appliance.contracts.records import (
    CreateShare,
    DeletePatient,
    EraseDocument,
    ListShares,
    RevokeShare,
)
from appliance.core.errors import NotFound, Tampered, Unavailable
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import derive, manifest_key, parse_secret
from appliance.formats.share_manifest import open_manifest, parse_key, sealed_on
from tests.records.bench import PDF, records_process


def open_link(bench, vault, link, pin=None, *, exactly=True):
    """What the patient's browser does, with what gateway would give it: document -> (name, title, content)."""
    keys = derive(parse_secret(link.split("#")[1]))
    share = vault.find(keys.proof)
    folder = bench.state / "spool" / keys.locator
    box = bytes.fromhex(vault.box)
    manifest = open_manifest(
        (folder / "manifest").read_bytes(),
        manifest_key(keys.wrap_key, share.r),
        box,
        keys.locator,
        share.status.expires_at,
    )
    if exactly:
        assert {entry.name for entry in folder.iterdir()} == {"manifest", *(one.file for one in manifest.documents)}
    opened = {}
    for one in manifest.documents:
        sealed = (folder / one.file).read_bytes()
        assert (len(sealed), hashlib.sha256(sealed).hexdigest()) == (one.sealed_length, one.sha256)
        opener = DocumentOpener(parse_key(one.key), sealed_on(one, box), bytes.fromhex(one.id), one.length)
        content = opener.open(sealed) + opener.finish()
        assert (opener.inner_header.name, opener.inner_header.media_type) == (one.name, one.media_type)
        opened[one.id] = (one.name, one.title, content)
    return opened


async def three_documents(bench, family="Muster"):
    patient = await bench.add_patient(family)
    contents = {}
    for number in range(3):
        content = PDF + os.urandom(100_000 * number + 5)
        added = await bench.add(content, patient=patient, title=f"Befund {number}", name=f"{number}.pdf")
        contents[added.document] = (f"{number}.pdf", f"Befund {number}", content)
    return patient, contents


async def test_share_opens_exactly_its_documents(bench, vault):
    patient, contents = await three_documents(bench)
    await three_documents(bench, "Anders")
    chosen = list(contents)[:2]
    made = await bench.ask(CreateShare, patient=patient, documents=[*chosen, chosen[0]])
    assert made.link.startswith("https://praxis-test.localhost:8444/#")
    assert made.expires_at == vault.now + 14 * 86400
    assert open_link(bench, vault, made.link) == {document: contents[document] for document in chosen}
    assert vault.asked == ["MakeShare", "PublishShare"]


async def test_a_share_names_no_document_of_another_patient(bench, vault):
    _, contents = await three_documents(bench)
    other, _ = await three_documents(bench, "Anders")
    for documents in (list(contents), ["0" * 32]):
        with pytest.raises(NotFound, match="document"):
            await bench.ask(CreateShare, patient=other, documents=documents)
    assert vault.shares == {}
    assert bench.spool_entries == []


async def test_shares_are_listed_with_names_and_titles(bench, vault):
    patient, contents = await three_documents(bench)
    made = await bench.ask(CreateShare, patient=patient, documents=list(contents)[1:], valid_days=3)
    (share,) = (await bench.ask(ListShares, patient=patient)).shares
    assert (share.share, share.patient_name, share.titles) == (made.share, "Muster, Erika", ["Befund 1", "Befund 2"])
    assert (share.state, share.tries_left) == ("open", 5)
    assert (await bench.ask(ListShares, patient="f" * 32)).shares == []


async def test_revoked_share_leaves_the_spool_and_vault(bench, vault):
    patient, contents = await three_documents(bench)
    made = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    await bench.ask(RevokeShare, share=made.share)
    assert bench.spool_entries == []
    assert vault.shares[made.share].status.state == "revoked"
    with pytest.raises(FileNotFoundError):
        open_link(bench, vault, made.link)
    with pytest.raises(NotFound, match="share"):
        await bench.ask(RevokeShare, share="0" * 32)
    (share,) = (await bench.ask(ListShares)).shares
    assert (share.state, len(share.titles)) == ("revoked", 3)
    for document, (_, _, content) in contents.items():
        assert await bench.read(document) == content


async def test_erased_document_ends_its_shares(bench, vault):
    patient, contents = await three_documents(bench)
    first, second, third = contents
    both = await bench.ask(CreateShare, patient=patient, documents=[first, second])
    other = await bench.ask(CreateShare, patient=patient, documents=[third])
    await bench.ask(EraseDocument, document=first, reason="no_record")
    assert vault.shares[both.share].status.state == "revoked"
    assert len(bench.spool_entries) == 1
    assert len(bench.sealed_files) == 2
    assert list(open_link(bench, vault, other.link)) == [third]
    assert all(first not in str(path) for path in bench.state.rglob("*"))


async def test_deleted_patient_leaves_nothing(bench, vault):
    patient, contents = await three_documents(bench)
    other, others = await three_documents(bench, "Anders")
    made = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    kept = await bench.ask(CreateShare, patient=other, documents=list(others))
    await bench.ask(DeletePatient, patient=patient, reason="no_record")
    assert vault.shares[made.share].status.state == "revoked"
    assert len(bench.sealed_files) == 3
    assert len(bench.spool_entries) == 1
    assert open_link(bench, vault, kept.link) == others
    with pytest.raises(NotFound, match="patient"):
        await bench.ask(DeletePatient, patient=patient, reason="no_record")
    actions = await bench.actions()
    assert actions.count("document_erased_no_record") == 3
    assert actions[-1] == "patient_deleted"


async def test_an_expired_share_leaves_the_spool_by_itself(bench, vault):
    patient, contents = await three_documents(bench)
    await bench.ask(CreateShare, patient=patient, documents=list(contents), valid_days=1)
    lasting = await bench.ask(CreateShare, patient=patient, documents=list(contents), valid_days=2)
    bench.clock.now += 86400
    await bench.archive.sweep_spool()
    assert len(bench.spool_entries) == 1
    assert len(open_link(bench, vault, lasting.link)) == 3


async def test_a_share_that_vault_closed_leaves_the_spool_when_seen(bench, vault):
    patient, contents = await three_documents(bench)
    made = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    vault.end(made.share, "closed")
    (share,) = (await bench.ask(ListShares)).shares
    assert share.state == "closed"
    assert bench.spool_entries == []


async def test_a_share_that_vault_closed_leaves_the_spool_though_nobody_looks(bench, vault):
    patient, contents = await three_documents(bench)
    closed = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    live = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    vault.end(closed.share, "closed")
    await bench.archive.sweep_spool()
    assert len(bench.spool_entries) == 1
    assert open_link(bench, vault, live.link) == contents


async def test_a_sweep_takes_no_share_out_because_vault_is_away(bench, vault):
    patient, contents = await three_documents(bench)
    await bench.ask(CreateShare, patient=patient, documents=list(contents))
    away = vault.peer._path.with_suffix(".away")
    vault.peer._path.rename(away)
    await bench.archive.sweep_spool()
    away.rename(vault.peer._path)
    assert len(bench.spool_entries) == 1


async def test_shares_are_listed_page_by_page(bench, vault):
    patient, contents = await three_documents(bench)
    made = [(await bench.ask(CreateShare, patient=patient, documents=list(contents))).share for _ in range(3)]
    await bench.ask(RevokeShare, share=made[1])
    page = await bench.ask(ListShares, ended=False, count=1)
    assert ([share.share for share in page.shares], page.total) == ([made[2]], 2)
    page = await bench.ask(ListShares, ended=False, count=1, after=1)
    assert ([share.share for share in page.shares], page.total) == ([made[0]], 2)
    assert [share.share for share in (await bench.ask(ListShares, share=made[1])).shares] == [made[1]]


async def test_a_patient_with_more_shares_than_a_page_is_erased_whole(bench, vault, monkeypatch):
    monkeypatch.setattr(bench.archive.sessions._shares, "_count", 1000)
    patient, contents = await three_documents(bench)
    for _ in range(103):
        await bench.ask(CreateShare, patient=patient, documents=list(contents)[:1])
    await bench.ask(DeletePatient, patient=patient, reason="no_record")
    assert {share.status.state for share in vault.shares.values()} == {"revoked"}
    assert bench.spool_entries == []


async def test_a_share_that_fails_half_way_leaves_nothing(bench, vault, monkeypatch):
    patient, contents = await three_documents(bench)
    bench.sealed_files[0].unlink()
    with pytest.raises(NotFound, match="document"):
        await bench.ask(CreateShare, patient=patient, documents=list(contents))
    assert bench.spool_entries == []
    assert [share.status.state for share in vault.shares.values()] == ["revoked"]


async def test_a_start_removes_what_is_no_live_share(tmp_path, vault):
    session = vault.log_in()
    async with records_process(tmp_path, vault.peer, session) as bench:
        patient, contents = await three_documents(bench)
        made = await bench.ask(CreateShare, patient=patient, documents=list(contents))
        spool = bench.state / "spool"
        for orphan in (".new-" + "0" * 32, ".gone-" + "1" * 32, "2" * 32):
            (spool / orphan).mkdir()
            os.link(bench.sealed_files[0], spool / orphan / ("a" * 32))
    async with records_process(tmp_path, vault.peer, session) as bench:
        assert len(bench.spool_entries) == 1
        assert open_link(bench, vault, made.link) == contents
        assert len(bench.sealed_files) == 3


async def test_shares_are_capped_for_a_member_of_staff(bench, vault, monkeypatch):
    monkeypatch.setattr(bench.archive.sessions._shares, "_count", 2)
    patient, contents = await three_documents(bench)
    fields = {"patient": patient, "documents": list(contents)}
    for _ in range(2):
        await bench.ask(CreateShare, **fields)
    with pytest.raises(Unavailable, match="share_limit"):
        await bench.ask(CreateShare, **fields)
    assert len(vault.shares) == 2
    bench.clock.now += 3601
    await bench.ask(CreateShare, **fields)


async def test_a_manifest_does_not_open_for_another_share(bench, vault):
    patient, contents = await three_documents(bench)
    one = await bench.ask(CreateShare, patient=patient, documents=list(contents)[:1])
    two = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    keys = [derive(parse_secret(made.link.split("#")[1])) for made in (one, two)]
    swapped = (bench.state / "spool" / keys[1].locator / "manifest").read_bytes()
    (bench.state / "spool" / keys[0].locator / "manifest").write_bytes(swapped)
    with pytest.raises(Tampered):
        open_link(bench, vault, one.link)


LIST_AND_OPEN = """
import os, sys
spool, locator, file, gid = sys.argv[1:4] + [int(sys.argv[4])]
os.setgroups([])
os.setgid(gid)
os.setuid(65534)
for folder in (spool, f"{spool}/{locator}"):
    try:
        os.listdir(folder)
        sys.exit("listed " + folder)
    except PermissionError:
        pass
try:
    open(f"{spool}/{locator}/manifest", "ab")
    sys.exit("opened for writing")
except PermissionError:
    pass
for name in ("manifest", file):
    assert open(f"{spool}/{locator}/{name}", "rb").read(1)
print("opened by name")
"""


async def test_gateway_user_cannot_list_spool(bench, vault):
    patient, contents = await three_documents(bench)
    made = await bench.ask(CreateShare, patient=patient, documents=list(contents))
    spool = bench.state / "spool"
    locator = derive(parse_secret(made.link.split("#")[1])).locator
    for folder in (spool, spool / locator):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o710
    for path in (spool / locator).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    if os.getuid() == 0:
        # On the box gateway reaches the spool without passing the folders above it (a bind mount).
        for folder in spool.parents:
            if folder.stat().st_mode & 0o011 != 0o011:
                folder.chmod(folder.stat().st_mode | 0o011)
        file = next(path.name for path in (spool / locator).iterdir() if path.name != "manifest")
        command = [sys.executable, "-c", LIST_AND_OPEN, str(spool), locator, file, str(os.getgid())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "opened by name\n"), done.stderr
