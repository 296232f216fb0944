"""Answers of vault about this boot: whether the keys are open, what PCR 7 may become, which releases are over."""

from __future__ import annotations

from appliance.contracts.vault import DescribeOpening, Floor, Opening, RaiseFloor, SealForSecureBoot
from appliance.core.varlink import Answers, Caller, Done
from appliance.vault.vault import Vault


class BootAnswers:
    """Answers about this boot."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self) -> Answers:
        """Give the verbs answered here."""
        return {
            DescribeOpening: self.answer_describe_opening,
            SealForSecureBoot: self.answer_seal_for_secure_boot,
            RaiseFloor: self.answer_raise_floor,
        }

    async def answer_describe_opening(self, _: DescribeOpening, __: Caller) -> Opening:
        """Say whether the keys are open."""
        vault = self._vault
        if vault.shut_because:
            return Opening(state="shut", why=vault.shut_because)
        return Opening(state="open" if vault.is_made else "unprovisioned", why="")

    async def answer_seal_for_secure_boot(self, call: SealForSecureBoot, _: Caller) -> Done:
        """Seal beforehand for a change of PCR 7."""
        await self._vault.seal_for(call.coming)
        return Done()

    async def answer_raise_floor(self, _: RaiseFloor, __: Caller) -> Floor:
        """Raise the floor to the present release's epoch."""
        return Floor(epoch=await self._vault.raise_floor())
