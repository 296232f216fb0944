"""Answers of vault about the recovery kit: made once, accepted by its words, checked each quarter, sealed to.

The words leave with the one answer to MakeKit. Until the kit is accepted, what will be kept of it waits in memory;
the seed does not. Each check is an entry in the audit log, and wrong ones are slowed down.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from appliance.contracts.vault import (
    AcceptKitSheet,
    CheckKitSheet,
    DescribeKit,
    ErasedListProof,
    GenerationKeys,
    KeepGenerations,
    KeysMark,
    KitAcceptance,
    KitState,
    MakeKit,
    NewKit,
    OldKit,
    ProveErasedList,
    ReadKeysMark,
    SealedGeneration,
    SealGeneration,
)
from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.kit_bundle import BundleHeader
from appliance.formats.kit_key import of_seed, seal_bundle
from appliance.formats.kit_sheets import (
    CHECKED_WORDS,
    SEED_BYTES,
    SHEETS,
    checked_words,
    kit_name,
    known_word,
    split_seed,
)
from appliance.vault import kit as kits
from appliance.vault.kit import Generation, Kit
from appliance.vault.password_proof import proven_session
from appliance.vault.restore import Restore
from appliance.vault.state import State
from appliance.vault.vault import Vault

#: How long a kit waits to be accepted.
WAITING_S = 3600
ASKED_WORDS = CHECKED_WORDS[:2]
GUESSES = "\0kit"
MARK_CONTEXT = b"praxissafe keys mark 1\0"


@dataclass
class WaitingKit:
    """A kit that is being printed: what will be kept, and the words that are asked back of the sheets left."""

    kit: Kit
    principal: str
    made_at: int
    asked: dict[int, list[str]] = field(repr=False)


class KitAnswers:
    """Answers about the recovery kit."""

    def __init__(self, vault: Vault, restore: Restore) -> None:
        self._vault = vault
        self._restore = restore
        self._waiting: WaitingKit | None = None

    def table(self) -> Answers:
        """Give the verbs about the kit."""
        return {
            MakeKit: self.answer_make_kit,
            AcceptKitSheet: self.answer_accept_kit_sheet,
            DescribeKit: self.answer_describe_kit,
            CheckKitSheet: self.answer_check_kit_sheet,
            SealGeneration: self.answer_seal_generation,
            ReadKeysMark: self.answer_read_keys_mark,
            KeepGenerations: self.answer_keep_generations,
            ProveErasedList: self.answer_prove_erased_list,
        }

    async def answer_make_kit(self, call: MakeKit, _: Caller) -> NewKit:
        """Make seed and sheets, keep what is kept, forget the rest."""
        session, now = await proven_session(self._vault, call.session, call.password), self._vault.now()
        seed = secrets.token_bytes(SEED_BYTES)
        sheets, made = split_seed(seed), of_seed(seed)
        key = self._vault.keys.keys.kit_words
        kit = Kit(
            kit=made.kit,
            name=kit_name(sheets[0]),
            made_at=now,
            public_key=made.public_key,
            authentication_key=made.authentication_key,
            repository_password=made.repository_password,
            verifiers=[
                kits.words_verifier(key, made.kit, number, checked_words(words))
                for number, words in enumerate(sheets, start=1)
            ],
            checked_at=[now] * SHEETS,
        )
        asked = {number: checked_words(words)[: len(ASKED_WORDS)] for number, words in enumerate(sheets, start=1)}
        self._waiting = WaitingKit(kit, session.principal, now, asked)
        return NewKit(kit=kit.kit, name=kit.name, sheets=sheets, asked=list(ASKED_WORDS), checked=list(CHECKED_WORDS))

    async def answer_accept_kit_sheet(self, call: AcceptKitSheet, _: Caller) -> KitAcceptance:
        """Hear the asked words of one sheet; with the last one, the kit is in use."""
        session, waiting = self._vault.staff_session(call.session), self._waiting
        if (
            waiting is None
            or (waiting.kit.kit, waiting.principal) != (call.kit, session.principal)
            or self._vault.now() >= waiting.made_at + WAITING_S
        ):
            raise NotFound("kit")
        if call.sheet in waiting.asked:
            if waiting.asked[call.sheet] != _known(call.words, ASKED_WORDS):
                raise Refused("kit_words", sheet=call.sheet)
            if len(waiting.asked) == 1:
                await self._vault.audit.append("kit_made", actor=session.principal)
                await self._vault.change(
                    lambda state, now: replace(state, kits=kits.accept(state.kits, waiting.kit, now))
                )
                if self._waiting is waiting:
                    self._waiting = None
                self._vault.publish_kit()
            waiting.asked.pop(call.sheet, None)
        return KitAcceptance(sheets_left=sorted(waiting.asked))

    async def answer_describe_kit(self, call: DescribeKit, _: Caller) -> KitState:
        """Say how it stands."""
        self._vault.staff_session(call.session)
        held, now = self._vault.state.kits, self._vault.now()
        current = held.current
        return KitState(
            name=current.name if current else "",
            made_at=current.made_at if current else 0,
            checked_at=current.checked_at if current else [],
            due=current is not None and kits.is_due(current, now),
            checked=list(CHECKED_WORDS),
            generations=_sealed(current.generations if current else []),
            old=[
                OldKit(
                    name=one.name,
                    made_at=one.made_at,
                    replaced_at=one.replaced_at,
                    generations=_sealed(one.generations),
                )
                for one in held.old
            ],
            restoring_since=self._restore.since(now),
        )

    async def answer_check_kit_sheet(self, call: CheckKitSheet, _: Caller) -> Done:
        """Check the words that are always asked; the entry comes before the answer."""
        session, vault = self._vault.staff_session(call.session), self._vault
        kits.current_kit(vault.state.kits)
        words = _known(call.words, CHECKED_WORDS)
        wait_s = vault.slow_down.charge(GUESSES, vault.now())
        if wait_s:
            raise Unavailable("slow_down", wait_s=wait_s)
        try:
            kits.check_words(vault.keys.keys.kit_words, vault.state.kits, call.sheet, words)
        except Refused:
            await vault.audit.append("kit_check_failed", actor=session.principal)
            raise
        vault.slow_down.forgive(GUESSES)
        await vault.audit.append("kit_sheet_checked", actor=session.principal)
        await vault.change(lambda state, now: replace(state, kits=kits.note_check(state.kits, call.sheet, now)))
        return Done()

    async def answer_seal_generation(self, call: SealGeneration, _: Caller) -> GenerationKeys:
        """Note the generation, then seal the keys as they are."""

        def note(state: State, now: int) -> State:
            return replace(state, kits=kits.note_generation(state.kits, call.generation, now))

        state = await self._vault.change(note)
        kit, keys = kits.current_kit(state.kits), self._vault.keys.keys
        sealed_at = kit.generations[-1].sealed_at
        header = BundleHeader(kit.kit, state.box.box, call.generation, sealed_at)
        documents = self._document_keys()
        bundle = seal_bundle(kit.public_key, kit.authentication_key, header, keys.database, documents)
        return GenerationKeys(bundle=bundle, kit=kit.kit, sealed_at=sealed_at, keys=_mark(documents))

    async def answer_read_keys_mark(self, _: ReadKeysMark, __: Caller) -> KeysMark:
        """Say which keys wrap document keys now."""
        return KeysMark(keys=_mark(self._document_keys()))

    async def answer_keep_generations(self, call: KeepGenerations, _: Caller) -> Done:
        """Forget generations that lapsed."""
        existing = frozenset(call.existing)

        def keep(state: State, _: int) -> State:
            kept = kits.keep_generations(state.kits, existing)
            return state if kept is state.kits else replace(state, kits=kept)

        await self._vault.change(keep)
        return Done()

    async def answer_prove_erased_list(self, call: ProveErasedList, _: Caller) -> ErasedListProof:
        """Prove a list under the kit in use; without a kit there is no proof."""
        state = self._vault.state
        kit = state.kits.current
        proof = kits.prove_erased_list(kit.authentication_key, state.box.box, call.digest) if kit else b""
        return ErasedListProof(proof=proof)

    def _document_keys(self) -> tuple[bytes, ...]:
        """Give the keys that rows may be wrapped under: one, or two while the erasure key turns."""
        return tuple(one.document_keys for one in self._vault.keys.keys.erasure)


def _mark(document_keys: tuple[bytes, ...]) -> str:
    return hashlib.sha256(MARK_CONTEXT + b"".join(document_keys)).digest()[:16].hex()


def _sealed(generations: list[Generation]) -> list[SealedGeneration]:
    return [SealedGeneration(generation=one.generation, sealed_at=one.sealed_at) for one in generations]


def _known(typed: Sequence[str], places: Sequence[int]) -> list[str]:
    """Give the words that were typed; Invalid("kit_word_misspelt", word) for one that is on no sheet."""
    words = []
    for word, place in zip(typed, places, strict=True):
        known = known_word(word)
        if known is None:
            raise Invalid("kit_word_misspelt", field=f"word_{place}", word=place)
        words.append(known)
    return words
