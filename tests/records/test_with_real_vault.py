"""Records beside the real vault (a TPM in software) and the real audit: one share's walk, and what history says."""

import contextlib

import pytest

from appliance.contracts.audit import AUDIT
from appliance.contracts.records import CreateShare, EraseDocument, ListShares, ReadHistory, RevokeShare
from appliance.contracts.vault import VAULT, OpenShare, ReadPin
from appliance.core.errors import Refused
from appliance.formats.envelope import DocumentOpener
from appliance.formats.share_link import derive, manifest_key, parse_secret
from appliance.formats.share_manifest import open_manifest, parse_key
from appliance.vault.answers import VaultAnswers
from appliance.vault.audit_log import AuditLog as VaultsAudit
from appliance.vault.clock import Clock as VaultClock
from appliance.vault.vault import open_vault
from tests.records.bench import PDF, Clock, audit_answers, records_process, served
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import Running


@contextlib.asynccontextmanager
async def box(folder, clock):
    """Vault, audit and records of one box; each peer's socket says who asks."""
    (folder / "vault").mkdir(exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        tcti = stack.enter_context(software_tpm(folder / "tpm"))
        audit = stack.enter_context(audit_answers(folder / "audit", clock))
        told = await stack.enter_async_context(served(folder / "vault-audit.sock", AUDIT, audit.table(), "vault"))
        settings = booted(folder / "boot", tcti).settings(tcti, folder / "vault")
        vault = await stack.enter_async_context(
            open_vault(settings, VaultsAudit(told), VaultClock(clock, lambda: 0.0))
        )
        running = Running(vault, None)
        session = await running.claimed()
        peer = await stack.enter_async_context(
            served(folder / "vault.sock", VAULT, VaultAnswers(vault).table(), "records")
        )
        bench = await stack.enter_async_context(records_process(folder, peer, session, clock=clock, audit=audit))
        yield bench, running


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
        await bench.ask(EraseDocument, document=documents[0])
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
            ("records", "document_erased"),
            ("vault", "share_made"),
            ("vault", "share_revoked"),
        ]
        assert {one.patient_name for one in entries} == {"Muster, Erika"}
        with pytest.raises(Refused, match="session"):
            await bench.ask(ListShares, session="x" * 43)
