"""Answers of vault about a restore: two sheets of a kit, a bundle, and old document keys under this box's keys.

Who begins is a member of staff who has proven the password again and holds two sheets; both ways out are in the audit
log before they take effect. From then on records alone is answered, and sees of the old keys the database's only
(SQLCipher needs it): document keys go from one wrapping to the other inside vault.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets

from appliance.contracts.vault import (
    BeginRestore,
    BegunRestore,
    CheckErasedList,
    DatabaseKey,
    EndRestore,
    OldDocumentKey,
    OpenedGeneration,
    OpenGeneration,
    OpenOldDatabase,
    ReadRepositoryPassword,
    RepositoryPassword,
    RewrapOldDocumentKeys,
    RewrappedKeys,
)
from appliance.core.errors import Invalid, Tampered
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.kit_key import of_seed
from appliance.formats.kit_sheets import combine_sheets
from appliance.vault import kit as kits
from appliance.vault.hierarchy import NONCE_BYTES, unwrap_old_document_key, wrap_document_key
from appliance.vault.password_proof import proven_session
from appliance.vault.restore import Restore
from appliance.vault.vault import Vault


class RestoreAnswers:
    """Answers about a restore."""

    def __init__(self, vault: Vault, restore: Restore) -> None:
        self._vault = vault
        self._restore = restore

    def table(self) -> Answers:
        """Give the verbs about a restore."""
        return {
            BeginRestore: self.answer_begin_restore,
            ReadRepositoryPassword: self.answer_read_repository_password,
            OpenGeneration: self.answer_open_generation,
            OpenOldDatabase: self.answer_open_old_database,
            RewrapOldDocumentKeys: self.answer_rewrap_old_document_keys,
            CheckErasedList: self.answer_check_erased_list,
            EndRestore: self.answer_end_restore,
        }

    async def answer_begin_restore(self, call: BeginRestore, _: Caller) -> BegunRestore:
        """Read two sheets; hold what follows from them."""
        session = await proven_session(self._vault, call.session, call.password)
        try:
            seed, name = await asyncio.to_thread(combine_sheets, call.first, call.second)
        except Invalid:
            await self._vault.audit.append("restore_refused", actor=session.principal)
            raise
        await self._vault.audit.append("restore_begun", actor=session.principal)
        opened = of_seed(seed)
        self._restore.begin(opened, self._vault.now())
        return BegunRestore(kit=opened.kit, name=name)

    async def answer_read_repository_password(self, call: ReadRepositoryPassword, _: Caller) -> RepositoryPassword:
        """Give the password of the repository: of the kit in use, or of the one whose sheets were read."""
        if call.old:
            seed = self._restore.seed(self._vault.now())
            return RepositoryPassword(kit=seed.kit, password=seed.repository_password)
        known = self._vault.state.kits
        kit = kits.current_kit(known)
        earlier = [one.repository_password for one in known.old]
        return RepositoryPassword(kit=kit.kit, password=kit.repository_password, earlier=earlier)

    async def answer_open_generation(self, call: OpenGeneration, _: Caller) -> OpenedGeneration:
        """Open a bundle and hold its keys."""
        header = self._restore.open(call.bundle, self._vault.now()).header
        return OpenedGeneration(box=header.box, generation=header.generation, sealed_at=header.sealed_at)

    async def answer_open_old_database(self, _: OpenOldDatabase, __: Caller) -> DatabaseKey:
        """Give records the key of the old database."""
        return DatabaseKey(key=self._restore.old(self._vault.now()).database)

    async def answer_rewrap_old_document_keys(self, call: RewrapOldDocumentKeys, _: Caller) -> RewrappedKeys:
        """Wrap old document keys for this box."""
        keys = self._restore.old(self._vault.now()).document_keys
        return RewrappedKeys(
            wrapped=[self._rewrapped(keys, one) for one in call.documents],
            generation=self._vault.keys.keys.newest.generation,
        )

    async def answer_check_erased_list(self, call: CheckErasedList, _: Caller) -> Done:
        """Check that the box of the generation that was opened proved a list."""
        now = self._vault.now()
        key, box = self._restore.seed(now).authentication_key, self._restore.old(now).header.box
        if not hmac.compare_digest(kits.prove_erased_list(key, box, call.digest), call.proof):
            raise Tampered("erased_list")
        return Done()

    async def answer_end_restore(self, _: EndRestore, __: Caller) -> Done:
        """Forget the old keys."""
        if self._restore.since(self._vault.now()):
            await self._vault.audit.append("restore_ended")
        self._restore.end()
        return Done()

    def _rewrapped(self, keys: tuple[bytes, ...], one: OldDocumentKey) -> bytes | None:
        """Wrap one key; None if it was lost on the old box already."""
        for key in keys:
            try:
                document_key = unwrap_old_document_key(key, one.document, one.wrapped)
            except Tampered:
                continue
            return wrap_document_key(
                self._vault.keys.keys, one.document, document_key, secrets.token_bytes(NONCE_BYTES)
            )
        return None
