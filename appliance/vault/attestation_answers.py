"""Answers of vault about its TPM: who it is, and the proof to the portal. Only while the box is enrolled."""

from __future__ import annotations

import msgspec

from appliance.contracts.vault import IdentifyTpm, ProveTpm, TpmEvidence, TpmIdentity
from appliance.core.errors import Refused
from appliance.core.varlink import Answers, Caller
from appliance.formats.attestation import Question, qualifying_data
from appliance.vault.state import BoxFacts
from appliance.vault.vault import Vault


class AttestationAnswers:
    """Answers about the TPM."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self) -> Answers:
        """Give the verbs answered here."""
        return {IdentifyTpm: self.answer_identify_tpm, ProveTpm: self.answer_prove_tpm}

    async def answer_identify_tpm(self, _: IdentifyTpm, __: Caller) -> TpmIdentity:
        """Say who this TPM is."""
        self._box()
        return TpmIdentity(**msgspec.structs.asdict(await self._vault.tpm.identify()))

    async def answer_prove_tpm(self, call: ProveTpm, _: Caller) -> TpmEvidence:
        """Answer the portal's question, bound to this box and its portal."""
        box = self._box()
        question = Question(credential=call.credential, encrypted_seed=call.encrypted_seed, nonce=call.nonce)
        qualifying = qualifying_data(bytes.fromhex(box.box), box.portal_name, call.nonce)
        return TpmEvidence(**msgspec.structs.asdict(await self._vault.tpm.prove(question, qualifying)))

    def _box(self) -> BoxFacts:
        box = self._vault.state.box
        if box.provisioned:
            raise Refused("provisioned")
        return box
