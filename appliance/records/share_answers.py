"""What records answers about shares: make one, list them, end one.

The entries share_made and share_revoked are vault's: it makes and ends, so it tells.
"""

from __future__ import annotations

import os
from pathlib import Path

from appliance.contracts.records import CreateShare, ListShares, NewLink, RevokeShare, Share, Shares
from appliance.contracts.vault import ListShares as ListVaultShares
from appliance.contracts.vault import MakeShare, NewShare, PublishShare, ShareStatus, WrappedKey
from appliance.contracts.vault import RevokeShare as RevokeVaultShare
from appliance.core.errors import PraxisError
from appliance.core.metrics import Counter
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.share_link import SECRET_BYTES, ShareKeys, derive, format_link, manifest_key, proof_verifier
from appliance.formats.share_manifest import (
    NONCE_BYTES,
    Manifest,
    ManifestDocument,
    ManifestPreview,
    format_key,
    seal_manifest,
)
from appliance.records import document_keys, documents, patients, previews, shares
from appliance.records.archive import Archive
from appliance.records.database import Rows
from appliance.records.documents import Sealed
from appliance.records.previews import SealedPreview
from appliance.records.threads import on_thread

SECONDS_PER_DAY = 86400
HTTPS_PORT = 443

_shares = Counter("shares_total", "Shares by what was done.", ["made", "failed", "revoked"])


class ShareAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {
            CreateShare: self.answer_create_share,
            ListShares: self.answer_list_shares,
            RevokeShare: self.answer_revoke_share,
        }

    async def answer_create_share(self, call: CreateShare, _: Caller) -> NewLink:
        """Make a share: vault's half with its entry, row, spool; only then can it be opened. S is forgotten."""
        archive = self._archive
        session = await archive.sessions.check_staff(call.session)
        wanted = list(dict.fromkeys(call.documents))
        secret = os.urandom(SECRET_BYTES)
        keys = derive(secret)
        async with archive.share_changes:
            sealed = await archive.database.run(
                lambda rows: [documents.find_of_patient(rows, call.patient, document) for document in wanted]
            )
            archive.sessions.count_share(session, keys.locator)
            made = await archive.vault.ask(
                MakeShare(
                    session=call.session,
                    proof_verifier=proof_verifier(keys.proof),
                    patient=call.patient,
                    documents=wanted,
                    valid_s=call.valid_days * SECONDS_PER_DAY,
                )
            )
            try:
                await archive.database.run(
                    lambda rows: shares.add(rows, made.share, keys.locator, call.patient, wanted, made.expires_at)
                )
                await self._publish(keys, made, sealed)
                await archive.vault.ask(PublishShare(session=call.session, share=made.share))
            except PraxisError:
                _shares.add("failed")
                await archive.withdraw([made.share])
                await archive.vault.ask(RevokeVaultShare(session=call.session, share=made.share))
                raise
        _shares.add("made")
        return NewLink(share=made.share, link=self._link(secret), expires_at=made.expires_at)

    async def answer_list_shares(self, call: ListShares, _: Caller) -> Shares:
        """Give a page of vault's states with names and titles; what of it vault has closed leaves the spool now."""
        archive = self._archive
        await archive.sessions.check_staff(call.session, touch=False)
        listed = await archive.vault.ask(
            ListVaultShares(
                session=call.session,
                patient=call.patient,
                share=call.share,
                ended=call.ended,
                after=call.after,
                count=call.count,
            )
        )
        async with archive.share_changes:
            await archive.withdraw([status.share for status in listed.shares if status.state != "open"])
        described = await archive.database.run(lambda rows: _described(rows, listed.shares))
        return Shares(shares=described, total=listed.total)

    async def answer_revoke_share(self, call: RevokeShare, _: Caller) -> Done:
        """End a share: vault's half first, with its entry, then what lies in the spool."""
        archive = self._archive
        await archive.sessions.check_staff(call.session)
        async with archive.share_changes:
            await archive.vault.ask(RevokeVaultShare(session=call.session, share=call.share))
            await archive.withdraw([call.share])
        _shares.add("revoked")
        return Done()

    async def _publish(self, keys: ShareKeys, made: NewShare, sealed: list[Sealed]) -> None:
        archive = self._archive
        entries, files = list[ManifestDocument](), dict[str, Path]()
        for document in sealed:
            entries.append(await self._entry(document, files))
        manifest = seal_manifest(
            Manifest(version=1, documents=tuple(entries)),
            manifest_key(keys.wrap_key, made.r),
            os.urandom(NONCE_BYTES),
            archive.box_bytes,
            keys.locator,
            made.expires_at,
        )
        await on_thread(archive.file_threads, archive.spool.publish, keys.locator, manifest, files)

    async def _entry(self, sealed: Sealed, files: dict[str, Path]) -> ManifestDocument:
        """Describe a document for the manifest; its files get their random names in `files`."""
        document = sealed.description
        preview = await self._archive.database.run(lambda rows: previews.find(rows, document.document))
        return ManifestDocument(
            id=document.document,
            file=self._name(sealed.file, files),
            key=await self._key(document.document, sealed.wrapped_key),
            name=document.name,
            title=document.title,
            kind=document.kind,
            media_type=document.media_type,
            length=document.length,
            sealed_length=sealed.sealed_length,
            sha256=sealed.sealed_sha256.hex(),
            box=sealed.sealed_for or None,
            preview=None if preview is None else await self._preview(preview, files),
        )

    async def _preview(self, sealed: SealedPreview, files: dict[str, Path]) -> ManifestPreview:
        return ManifestPreview(
            id=sealed.preview,
            file=self._name(sealed.file, files),
            key=await self._key(sealed.preview, sealed.wrapped_key),
            length=sealed.length,
            sealed_length=sealed.sealed_length,
            sha256=sealed.sealed_sha256.hex(),
            box=sealed.sealed_for or None,
        )

    async def _key(self, identifier: str, wrapped: WrappedKey) -> str:
        return format_key(await document_keys.unwrap(self._archive, identifier, wrapped))

    def _name(self, file: str, files: dict[str, Path]) -> str:
        name = os.urandom(16).hex()
        files[name] = self._archive.files.path(file)
        return name

    def _link(self, secret: bytes) -> str:
        box = self._archive.box
        port = "" if box.page_port == HTTPS_PORT else f":{box.page_port}"
        return format_link(box.page_host + port, secret)


def _described(rows: Rows, listed: list[ShareStatus]) -> list[Share]:
    names = patients.display_names(rows, {status.patient for status in listed})
    titles = documents.titles(
        rows, {(status.patient, document) for status in listed for document in status.documents}
    )
    return [
        Share(
            share=status.share,
            patient=status.patient,
            patient_name=names.get(status.patient, ""),
            titles=[titles[document] for document in status.documents if document in titles],
            state=status.state,
            made_at=status.made_at,
            expires_at=status.expires_at,
            tries_left=status.tries_left,
            opened=status.opened,
            last_opened_at=status.last_opened_at,
            pin_printed=status.pin_printed,
        )
        for status in listed
    ]
