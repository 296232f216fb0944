"""Answers of vault about the box itself and the records' keys, and the whole table. Staff and shares have their own.

Rule: every answer is an operation; the one key that leaves is the database's.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets

import msgspec
from msgspec.structs import replace

from appliance.contracts.vault import (
    Box,
    DatabaseKey,
    Describe,
    DeviceProof,
    DocumentKey,
    FinishProvisioning,
    NewBox,
    OpenDatabase,
    ProveDevice,
    Provision,
    UnwrapDocumentKey,
    WrapDocumentKey,
    WrappedKey,
)
from appliance.core.errors import Invalid, Refused
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.tunnel_control import proof_bytes
from appliance.vault.attestation_answers import AttestationAnswers
from appliance.vault.boot_answers import BootAnswers
from appliance.vault.codes import CODE_BYTES, code_verifier, format_code
from appliance.vault.erasure_answers import ErasureAnswers
from appliance.vault.hierarchy import NONCE_BYTES, unwrap_document_key, wrap_document_key
from appliance.vault.kit_answers import KitAnswers
from appliance.vault.lock_answers import LockAnswers
from appliance.vault.reset_answers import ResetAnswers
from appliance.vault.restore import Restore
from appliance.vault.restore_answers import RestoreAnswers
from appliance.vault.session_answers import SessionAnswers
from appliance.vault.share_answers import ShareAnswers
from appliance.vault.staff_answers import StaffAnswers
from appliance.vault.state import BoxFacts, State
from appliance.vault.vault import Vault

BOX_PLACE = "{box}"
BOX_DIGITS = 8


class VaultAnswers:
    """Answers for the box and the records' keys."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._provisioning = asyncio.Lock()

    def table(self) -> Answers:
        """Give every verb of de.praxissafe.Vault."""
        own: Answers = {
            Describe: self.answer_describe,
            Provision: self.answer_provision,
            FinishProvisioning: self.answer_finish_provisioning,
            ProveDevice: self.answer_prove_device,
            OpenDatabase: self.answer_open_database,
            WrapDocumentKey: self.answer_wrap_document_key,
            UnwrapDocumentKey: self.answer_unwrap_document_key,
        }
        restore = Restore()
        parts = (
            AttestationAnswers(self._vault),
            BootAnswers(self._vault),
            LockAnswers(self._vault),
            ErasureAnswers(self._vault),
            ShareAnswers(self._vault),
            SessionAnswers(self._vault),
            StaffAnswers(self._vault),
            KitAnswers(self._vault, restore),
            RestoreAnswers(self._vault, restore),
            ResetAnswers(self._vault),
        )
        return {**own, **{verb: answer for part in parts for verb, answer in part.table().items()}}

    async def answer_describe(self, _: Describe, __: Caller) -> Box:
        """Say who this box is."""
        return _described(self._vault.state)

    async def answer_provision(self, call: Provision, _: Caller) -> NewBox:
        """Make the keys, or keep them and take the new facts; a fresh claim code each time."""
        async with self._provisioning:
            code = format_code(secrets.token_bytes(CODE_BYTES))
            vault = self._vault
            if vault.is_made:
                await vault.change(lambda state, _: _provisioned_again(state, call, code))
            else:
                box = _facts(call, secrets.token_hex(16), code)
                await vault.begin(State(box=box, seen_at=vault.now()))
            box = vault.state.box
            return NewBox(box=box.box, device_key=vault.keys.device_public_key, claim_code=code, serial=box.serial)

    async def answer_finish_provisioning(self, _: FinishProvisioning, __: Caller) -> Done:
        """Close enrolment; a second time changes nothing."""
        async with self._provisioning:
            if not self._vault.state.box.provisioned:
                await self._vault.audit.append("box_provisioned")
                await self._vault.change(lambda state, _: replace(state, box=replace(state.box, provisioned=True)))
            self._vault.mark_provisioned()
            return Done()

    async def answer_prove_device(self, call: ProveDevice, _: Caller) -> DeviceProof:
        """Sign box, portal, nonce and the certificate the portal showed."""
        box = self._vault.state.box
        proof = proof_bytes(bytes.fromhex(box.box), box.portal_name, call.nonce, call.portal_certificate_sha256)
        signature = await self._vault.tpm.sign(hashlib.sha256(proof).digest())
        return DeviceProof(box=box.box, signature=signature)

    async def answer_open_database(self, _: OpenDatabase, __: Caller) -> DatabaseKey:
        """Give records the key of its database."""
        return DatabaseKey(key=self._vault.keys.keys.database)

    async def answer_wrap_document_key(self, call: WrapDocumentKey, _: Caller) -> WrappedKey:
        """Wrap a document's key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        keys = self._vault.keys.keys
        wrapped = wrap_document_key(keys, call.document, call.key, nonce)
        return WrappedKey(wrapped=wrapped, generation=keys.newest.generation)

    async def answer_unwrap_document_key(self, call: UnwrapDocumentKey, _: Caller) -> DocumentKey:
        """Unwrap a document's key."""
        keys = self._vault.keys.keys
        return DocumentKey(key=unwrap_document_key(keys, call.generation, call.document, call.wrapped))


def _facts(call: Provision, box: str, code: str) -> BoxFacts:
    digits = box[:BOX_DIGITS]
    facts = BoxFacts(
        box=box,
        serial=call.serial,
        page_host=call.page_host.replace(BOX_PLACE, digits),
        page_port=call.page_port,
        lan_host=call.lan_host.replace(BOX_PLACE, digits),
        lan_port=call.lan_port,
        portal_address=call.portal_address,
        portal_name=call.portal_name,
        portal_ca=call.portal_ca,
        claim_verifier=code_verifier(code),
        printed_code=code_verifier(code),
    )
    try:
        msgspec.convert(msgspec.to_builtins(_described(State(box=facts))), Box)
    except msgspec.ValidationError as error:
        raise Invalid("host") from error
    return facts


def _provisioned_again(state: State, call: Provision, code: str) -> State:
    if state.box.provisioned:
        raise Refused("provisioned")
    return replace(state, box=_facts(call, state.box.box, code))


def _described(state: State) -> Box:
    box = state.box
    return Box(
        box=box.box,
        page_host=box.page_host,
        page_port=box.page_port,
        lan_host=box.lan_host,
        lan_port=box.lan_port,
        portal_address=box.portal_address,
        portal_name=box.portal_name,
        portal_ca=box.portal_ca,
        provisioned=box.provisioned,
        claimed=bool(state.accounts.members),
        practice_name=box.practice_name,
        telephone=box.telephone,
    )
