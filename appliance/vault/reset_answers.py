"""Answers of vault about the factory reset: somebody stands at the box, has the right, and means it.

Open, locked or shut makes no difference, and nobody needs a session: everybody may have lost their password. Guesses
are slowed down together. The entry in the audit log comes first; a log that does not take it stops nothing, as a
broken box must be resettable and the log goes with it: then the journal has it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field

from appliance.contracts.audit import Action
from appliance.contracts.vault import BeginReset, BegunReset, FinishReset, NotePresence
from appliance.core.errors import Invalid, Refused, Unavailable
from appliance.core.journal import say
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.kit_key import of_seed
from appliance.formats.kit_sheets import combine_sheets
from appliance.vault.reset import TICKET_S, is_present
from appliance.vault.sessions import TOKEN_BYTES
from appliance.vault.vault import Vault

GUESSES = "\0reset"


@dataclass(frozen=True)
class Ticket:
    """A right that was proven."""

    token: str = field(repr=False)
    ends_at_s: float


class ResetAnswers:
    """Answers about the factory reset."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._present_at_s: float | None = None
        self._ticket: Ticket | None = None
        self._finishing = asyncio.Lock()

    def table(self) -> Answers:
        """Give the verbs answered here."""
        return {
            NotePresence: self.answer_note_presence,
            BeginReset: self.answer_begin_reset,
            FinishReset: self.answer_finish_reset,
        }

    async def answer_note_presence(self, _: NotePresence, __: Caller) -> Done:
        """Remember when the button was held."""
        self._present_at_s = self._vault.clock.steady_s()
        say("button_held", priority="notice")
        return Done()

    async def answer_begin_reset(self, call: BeginReset, _: Caller) -> BegunReset:
        """Compare code or kit; the attempt is charged first."""
        if bool(call.code) == bool(call.first and call.second) or bool(call.first) != bool(call.second):
            raise Invalid("reset_right")
        vault, right = self._vault, self._vault.reset_right()
        if right.is_nobodys:
            raise Refused("reset_nothing")
        wait_s = vault.slow_down.charge(GUESSES, vault.now())
        if wait_s:
            raise Unavailable("slow_down", wait_s=wait_s)
        if call.code:
            if not right.is_of_code(call.code):
                await self._log("reset_refused")
                raise Refused("reset_code")
        else:
            seed, _name = await asyncio.to_thread(combine_sheets, call.first, call.second)
            if not right.is_of_kit(of_seed(seed).kit):
                await self._log("reset_refused")
                raise Refused("reset_kit")
        vault.slow_down.forgive(GUESSES)
        self._ticket = Ticket(secrets.token_urlsafe(TOKEN_BYTES), vault.clock.steady_s() + TICKET_S)
        return BegunReset(ticket=self._ticket.token)

    async def answer_finish_reset(self, call: FinishReset, _: Caller) -> Done:
        """Put the mark, and end."""
        async with self._finishing:
            ticket, now_s = self._ticket, self._vault.clock.steady_s()
            if ticket is None or now_s >= ticket.ends_at_s or not _same(call.ticket, ticket.token):
                raise Refused("reset_ticket")
            if not is_present(self._present_at_s, now_s):
                raise Refused("reset_presence")
            await self._vault.check_resettable()
            await self._log("box_reset")
            await self._vault.begin_reset()
            return Done()

    async def _log(self, action: Action) -> None:
        try:
            await self._vault.audit.append(action)
        except Unavailable:
            say(f"{action}_not_logged", priority="warning")


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
