"""Records beside the real vault (a TPM in software) and the real audit: one share's walk, and what history says."""

import shutil

import pytest

from appliance.contracts.records import CreateShare, EraseDocument, ListShares, ReadHistory, RevokeShare
from appliance.contracts.vault import OpenDatabase, OpenShare, ReadPin, ShowShare
from appliance.core.errors import Refused, Tampered, Unavailable
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import derive, manifest_key, parse_secret
from appliance.formats.share_manifest import open_manifest, parse_key
from appliance.records import erasure, turning
from appliance.records.database import Database
from appliance.vault.hierarchy import unwrap_document_key
from appliance.vault.state_file import decode_file
from tests.records.bench import PDF, Clock
from tests.records.real_vault import box


async def test_what_was_erased_opens_with_no_older_disk_on_the_same_tpm(tmp_path):
    """Whoever kept the whole disk of yesterday, and has the database's key, finds a wrapping that nothing opens."""
    clock = Clock(1_900_000_000)
    async with box(tmp_path, clock) as (bench, vault):
        patient = await bench.add_patient()
        erased, kept = [(await bench.add(PDF + b"content", patient=patient, title=title)).document for title in "AB"]
        share = await bench.ask(CreateShare, patient=patient, documents=[erased])
        keys = derive(parse_secret(share.link.split("#")[1]))
        older = {name: shutil.copytree(tmp_path / name, tmp_path / f"older-{name}") for name in ("vault", "records")}
        opens = vault.vault.keys.keys
        wrapped = await bench.archive.database.run(lambda rows: erasure.find_key(rows, erased))
        assert len(unwrap_document_key(opens, wrapped.generation, erased, wrapped.wrapped)) == 32  # until it turns
        state, _ = decode_file((older["vault"] / "state").read_bytes(), opens)
        assert state.shares[share.share].r is not None

        await bench.ask(EraseDocument, document=erased, reason="no_record")
        assert await turning.turn(bench.archive)

        today = vault.vault.keys.keys
        assert [one.generation for one in today.erasure] == [2]
        for generation in (1, 2):
            with pytest.raises((Tampered, Unavailable), match=r"document_key|key_turned"):
                unwrap_document_key(today, generation, erased, wrapped.wrapped)
        with pytest.raises(Tampered, match="state_rolled_back"):
            decode_file((older["vault"] / "state").read_bytes(), today)
        assert (await vault.ask(ShowShare(proof=keys.proof))).state == "revoked"
        assert await bench.read(kept) == PDF + b"content"
        database_key = (await vault.ask(OpenDatabase())).key
        today_of_tpm = await vault.vault.tpm.read_erasure_keys(today.erasure_authorisation)
        assert [key.generation for key in today_of_tpm] == [2]

    old = await Database.open(older["records"] / "records.db", database_key)
    try:
        assert (await old.run(lambda rows: erasure.find_key(rows, erased))) == wrapped  # the copy is whole
    finally:
        old.close()


async def test_a_share_opens_revokes_and_erases_with_the_real_vault(tmp_path):
    async with box(tmp_path, Clock(1_900_000_000)) as (bench, vault):
        patient = await bench.add_patient()
        sent = PDF + b"content" * 20_000
        documents = [(await bench.add(sent, patient=patient, title=title)).document for title in ("A", "B")]
        assert await bench.read(documents[0]) == sent
        made = await bench.ask(CreateShare, patient=patient, documents=documents[:1])
        pin = (await vault.ask(ReadPin(session=bench.session, share=made.share))).pin

        keys = derive(parse_secret(made.link.split("#")[1]))
        opened = await vault.ask(OpenShare(proof=keys.proof, pin=pin))
        folder = bench.state / "spool" / keys.locator
        manifest = open_manifest(
            (folder / "manifest").read_bytes(),
            manifest_key(keys.wrap_key, opened.r),
            bytes.fromhex(opened.box),
            keys.locator,
            opened.expires_at,
        )
        (one,) = manifest.documents
        opener = DocumentOpener(parse_key(one.key), bytes.fromhex(opened.box), bytes.fromhex(one.id), one.length)
        assert opener.open((folder / one.file).read_bytes()) + opener.finish() == sent

        (share,) = (await bench.ask(ListShares)).shares
        assert (share.state, share.opened, share.titles) == ("open", 1, ["A"])
        await bench.ask(EraseDocument, document=documents[0], reason="no_record")
        assert bench.spool_entries == []
        second = await bench.ask(CreateShare, patient=patient, documents=documents[1:])
        await bench.ask(RevokeShare, share=second.share)
        assert bench.spool_entries == []
        assert {share.state for share in (await bench.ask(ListShares)).shares} == {"revoked"}

        entries = (await bench.ask(ReadHistory, patient=patient)).entries[::-1]
        assert [(one.entry.process, one.entry.action) for one in entries] == [
            ("records", "patient_made"),
            ("records", "document_added"),
            ("records", "document_added"),
            ("records", "document_read"),
            ("vault", "share_made"),
            ("vault", "share_opened"),
            ("vault", "share_revoked"),
            ("records", "document_erased_no_record"),
            ("vault", "share_made"),
            ("vault", "share_revoked"),
        ]
        assert {one.patient_name for one in entries} == {"Muster, Erika"}
        with pytest.raises(Refused, match="session"):
            await bench.ask(ListShares, session="x" * 43)
