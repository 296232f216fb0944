"""Answers of vault about locking the box now, opening it again, and how it is opened.

Locking comes before its entry in the audit log, as whatever ends something does; opening comes after it. Choosing how
the box is opened asks for the own password once more: a borrowed screen must not do it. It counts only when the spare
code is on paper: before that, an answer that got lost would take the only ways to open the box with it.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from dataclasses import dataclass, field

from msgspec.structs import replace

from appliance.contracts.vault import (
    AcceptUnlocking,
    ChooseUnlocking,
    Computer,
    DescribeUnlocking,
    Lock,
    NewUnlocking,
    PairComputer,
    PairedComputer,
    ReadTries,
    RemoveComputer,
    Tries,
    UnlockByComputer,
    UnlockByPassword,
    Unlocking,
)
from appliance.core.errors import Invalid, NotFound, Refused, Unavailable
from appliance.core.journal import say
from appliance.core.varlink import Answers, Caller, Done
from appliance.vault import staff, unlock
from appliance.vault.codes import CODE_BYTES, format_code, normalized
from appliance.vault.hierarchy import KEY_BYTES, NONCE_BYTES
from appliance.vault.keys import Unlocked
from appliance.vault.password_proof import proven_session
from appliance.vault.state import ComputerName, State
from appliance.vault.unlock import PinObject, Unlock
from appliance.vault.vault import Vault

SECRET_BYTES = 32
SPARE = ""
#: How much of the spare code is asked back.
ENDING_CHARACTERS = 5
#: How long a choice waits for it.
WAITING_S = 3600


@dataclass(frozen=True)
class Choice:
    """A choice that does not count yet; it is in this memory alone."""

    principal: str
    ends_at: int
    unlocked: Unlocked = field(repr=False)
    how: Unlock = field(repr=False)
    labels: dict[str, str]
    secret: str = field(repr=False)
    ending: str = field(repr=False)


class LockAnswers:
    """Answers about the lock."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._changing = asyncio.Lock()
        self._choice: Choice | None = None

    def table(self) -> Answers:
        """Give the verbs answered here."""
        return {
            Lock: self.answer_lock,
            UnlockByPassword: self.answer_unlock_by_password,
            UnlockByComputer: self.answer_unlock_by_computer,
            ReadTries: self.answer_read_tries,
            DescribeUnlocking: self.answer_describe_unlocking,
            ChooseUnlocking: self.answer_choose_unlocking,
            AcceptUnlocking: self.answer_accept_unlocking,
            PairComputer: self.answer_pair_computer,
            RemoveComputer: self.answer_remove_computer,
        }

    async def answer_lock(self, call: Lock, _: Caller) -> Done:
        """Lock now; an entry that audit does not take is told to the journal, and the box is locked."""
        session = self._vault.staff_session(call.session)
        await self._vault.lock()
        try:
            await self._vault.audit.append("box_locked", actor=session.principal)
        except Unavailable:
            say("lock_not_logged", priority="warning")
        return Done()

    async def answer_unlock_by_password(self, call: UnlockByPassword, _: Caller) -> Done:
        """Open a locked box by a member's password; guesses are slowed down before the TPM hears of them."""
        vault, key = self._vault, staff.name_key(call.name)
        wait_s = vault.slow_down.charge(key, vault.now())
        if wait_s:
            raise Unavailable("slow_down", wait_s=wait_s)

        async def prove(state: State) -> str:
            member = staff.find_member(state.accounts, call.name)
            if await vault.passwords.check(member.verifier if member else None, call.password) and member:
                return member.principal
            await vault.audit.append("staff_login_refused", actor=member.principal if member else None)
            raise Refused("login")

        await vault.unlock_by_password(prove)
        vault.slow_down.forgive(key)
        return Done()

    async def answer_unlock_by_computer(self, call: UnlockByComputer, _: Caller) -> Done:
        """Open by a paired computer, and the PIN if it is the way."""
        try:
            await self._vault.unlock_by_computer(call.secret, call.pin)
        except Refused as error:
            if error.code == "unlock_pin":
                await self._vault.audit.append("unlock_pin_wrong")
            raise
        return Done()

    async def answer_read_tries(self, _: ReadTries, __: Caller) -> Tries:
        """Ask the TPM, which counts."""
        left, wait_s = await self._vault.tpm.read_tries()
        return Tries(left=left, wait_s=wait_s)

    async def answer_describe_unlocking(self, call: DescribeUnlocking, _: Caller) -> Unlocking:
        """Say how the box is opened."""
        self._vault.staff_session(call.session)
        how, names = self._vault.unlocking(), self._vault.state.computers
        unknown = ComputerName(label=SPARE, since=0)
        named = [(one.computer, names.get(one.computer, unknown)) for one in how.computers]
        return Unlocking(
            way=how.way,
            computers=[Computer(computer=name, label=of.label, since=of.since) for name, of in named],
        )

    async def answer_choose_unlocking(self, call: ChooseUnlocking, _: Caller) -> NewUnlocking:
        """Choose anew; the browser that asks and a spare code on paper are to be paired."""
        if (call.pin is not None) != (call.way == "pin"):
            raise Invalid("pin")
        session = await proven_session(self._vault, call.session, call.password)
        async with self._changing:
            self._choice = None
            if call.way == "itself":
                await self._take(session.principal, Unlocked(), Unlock(), {})
                return NewUnlocking(spare="")
            secret, spare = secrets.token_urlsafe(SECRET_BYTES), format_code(secrets.token_bytes(CODE_BYTES))
            part, shared = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)
            pin_object = b""
            if call.pin is None:
                shared = part
            else:
                pin_object = unlock.seal_object(
                    shared, await self._pin_object(part, call.pin), secrets.token_bytes(NONCE_BYTES)
                )
            own, paper = secrets.token_hex(16), secrets.token_hex(16)
            computers = [
                unlock.seal_to(own, unlock.public_key(secret), shared),
                unlock.seal_to(paper, unlock.public_key(spare), shared),
            ]
            self._choice = Choice(
                principal=session.principal,
                ends_at=self._vault.now() + WAITING_S,
                unlocked=Unlocked(part, shared),
                how=Unlock(way=call.way, computers=computers, pin_object=pin_object),
                labels={own: call.label, paper: SPARE},
                secret=secret,
                ending=normalized(spare)[-ENDING_CHARACTERS:],
            )
            return NewUnlocking(spare=spare)

    async def answer_accept_unlocking(self, call: AcceptUnlocking, _: Caller) -> PairedComputer:
        """Make the waiting choice count: its code is on paper, so no power cut and no closed window loses the box."""
        session = self._vault.staff_session(call.session)
        async with self._changing:
            choice = self._choice
            if choice is None or choice.principal != session.principal or self._vault.now() >= choice.ends_at:
                raise NotFound("unlocking_choice")
            typed = normalized(call.code)[-ENDING_CHARACTERS:]
            if not hmac.compare_digest(typed.encode("utf-8", "surrogatepass"), choice.ending.encode()):
                raise Refused("spare_code")
            self._choice = None
            await self._take(session.principal, choice.unlocked, choice.how, choice.labels)
            return PairedComputer(secret=choice.secret)

    async def _take(self, principal: str, unlocked: Unlocked, how: Unlock, labels: dict[str, str]) -> None:
        await self._vault.audit.append("unlocking_chosen", actor=principal)
        await self._vault.change_unlocking(unlocked, how)
        await self._vault.change(
            lambda state, now: replace(
                state, computers={one: ComputerName(label=label, since=now) for one, label in labels.items()}
            )
        )

    async def answer_pair_computer(self, call: PairComputer, _: Caller) -> PairedComputer:
        """Pair the browser that asks."""
        session = await proven_session(self._vault, call.session, call.password)
        async with self._changing:
            how, unlocked = self._vault.unlocking(), self._vault.keys.unlocked
            if how.way == "itself":
                raise Invalid("unlocking")
            if len(how.computers) >= unlock.MAX_COMPUTERS:
                raise Unavailable("computers_full", limit=unlock.MAX_COMPUTERS)
            await self._vault.audit.append("computer_paired", actor=session.principal)
            name, secret = secrets.token_hex(16), secrets.token_urlsafe(SECRET_BYTES)
            added = unlock.seal_to(name, unlock.public_key(secret), unlocked.shared)
            await self._vault.change_unlocking(unlocked, replace(how, computers=[*how.computers, added]))
            await self._vault.change(
                lambda state, now: replace(
                    state, computers={**state.computers, name: ComputerName(label=call.label, since=now)}
                )
            )
            return PairedComputer(secret=secret)

    async def answer_remove_computer(self, call: RemoveComputer, _: Caller) -> Done:
        """End a pairing: what the others share is new, so what the removed one knows opens nothing."""
        session = self._vault.staff_session(call.session)
        async with self._changing:
            how, old = self._vault.unlocking(), self._vault.keys.unlocked
            left = [one for one in how.computers if one.computer != call.computer]
            if len(left) == len(how.computers):
                raise NotFound("computer")
            if not left:
                raise Invalid("last_computer")
            await self._vault.audit.append("computer_removed", actor=session.principal)
            shared = secrets.token_bytes(KEY_BYTES)
            pin_object = how.pin_object
            if how.way == "pin":
                made = unlock.open_object(old.shared, how)
                pin_object = unlock.seal_object(shared, made, secrets.token_bytes(NONCE_BYTES))
            new = Unlocked(shared if how.way == "computer" else old.part, shared)
            computers = [unlock.seal_to(one.computer, one.public_key, shared) for one in left]
            await self._vault.change_unlocking(new, replace(how, computers=computers, pin_object=pin_object))
            await self._vault.change(
                lambda state, _: replace(
                    state, computers={one: of for one, of in state.computers.items() if one != call.computer}
                )
            )
            return Done()

    async def _pin_object(self, part: bytes, pin: str) -> PinObject:
        """Seal the unlock part under a PIN, and see that it opens, so that nobody is locked out by a fault."""
        tpm, salt = self._vault.tpm, secrets.token_bytes(KEY_BYTES)
        await tpm.guard_tries(self._vault.keys.keys.lockout_authorisation)
        authorisation = unlock.pin_authorisation(salt, pin)
        blob = await tpm.seal_by_pin(part, authorisation)
        if await tpm.unseal_by_pin(blob, authorisation) != part:
            raise Unavailable("pin_object")
        return PinObject(blob=blob, salt=salt)
