"""Answers of vault about the turning of the erasure key (docs/formats/key-hierarchy.md, "The erasure key turns").

Rule: document keys go from one wrapping to the other in here; records sees neither them nor an erasure key. The key
before is destroyed only when records has said that it has nothing under it any more.
"""

from __future__ import annotations

import asyncio
import secrets

from appliance.contracts.vault import (
    BeginTurn,
    ErasureGenerations,
    FinishTurn,
    NameErasureGenerations,
    TurnDocumentKeys,
    TurnedKeys,
)
from appliance.core.errors import Invalid
from appliance.core.metrics import Counter
from appliance.core.varlink import Answers, Caller, Done
from appliance.vault.hierarchy import NONCE_BYTES, turn_document_keys
from appliance.vault.vault import Vault

_turns = Counter("vault_erasure_turns_total", "Turns of the erasure key.", ["begun", "finished"])


class ErasureAnswers:
    """Answers about the erasure key."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self) -> Answers:
        """Give the verbs about the erasure key."""
        return {
            NameErasureGenerations: self.answer_name_erasure_generations,
            BeginTurn: self.answer_begin_turn,
            TurnDocumentKeys: self.answer_turn_document_keys,
            FinishTurn: self.answer_finish_turn,
        }

    async def answer_name_erasure_generations(self, _: NameErasureGenerations, __: Caller) -> ErasureGenerations:
        """Name oldest and newest."""
        erasure = self._vault.keys.keys.erasure
        return ErasureGenerations(oldest=erasure[0].generation, newest=erasure[-1].generation)

    async def answer_begin_turn(self, call: BeginTurn, _: Caller) -> Done:
        """Make the next key."""
        await self._vault.begin_turn(call.generation)
        _turns.add("begun")
        return Done()

    async def answer_turn_document_keys(self, call: TurnDocumentKeys, _: Caller) -> TurnedKeys:
        """Wrap document keys anew; in a thread, as there may be thousands."""
        keys = self._vault.keys.keys
        if len(keys.erasure) == 1:
            raise Invalid("generation")
        wrapped = [(one.document, one.wrapped) for one in call.documents]
        random = secrets.token_bytes(NONCE_BYTES * len(wrapped))
        return TurnedKeys(wrapped=await asyncio.to_thread(turn_document_keys, keys, wrapped, random))

    async def answer_finish_turn(self, call: FinishTurn, _: Caller) -> Done:
        """Wrap the state anew, destroy the key before."""
        await self._vault.finish_turn(call.generation)
        _turns.add("finished")
        return Done()
