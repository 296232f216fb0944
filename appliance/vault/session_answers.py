"""Answers of vault about being logged in: claim, invitation, log-in, session, password.

The rules are in staff.py, sessions.py and slow_down.py. An entry in the audit log comes before what it tells takes
effect; if audit is away, nothing happens. A code of 100 bits cannot be guessed, so a right one is always taken;
only wrong ones are slowed down: nobody can shut out its owner.
"""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from appliance.contracts.vault import (
    AcceptInvitation,
    ChangePassword,
    CheckSession,
    Claim,
    LogIn,
    LogOut,
    NewSession,
    Session,
)
from appliance.core.errors import Refused, Unavailable
from appliance.core.varlink import Answers, Caller, Done
from appliance.vault import staff
from appliance.vault.codes import code_matches
from appliance.vault.password_proof import checked_member
from appliance.vault.sessions import IDLE_TIMEOUT_S, TOKEN_BYTES, token_verifier
from appliance.vault.staff import Member
from appliance.vault.state import State
from appliance.vault.vault import Vault

CLAIM_GUESSES = "\0claim"
INVITATION_GUESSES = "\0invitation"


class SessionAnswers:
    """Answers about being logged in."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self) -> Answers:
        """Give the verbs about being logged in."""
        return {
            Claim: self.answer_claim,
            LogIn: self.answer_log_in,
            CheckSession: self.answer_check_session,
            LogOut: self.answer_log_out,
            ChangePassword: self.answer_change_password,
            AcceptInvitation: self.answer_accept_invitation,
        }

    async def answer_claim(self, call: Claim, _: Caller) -> NewSession:
        """Make the first member of staff."""
        box = self._vault.state.box
        if not box.provisioned:
            raise Unavailable("unprovisioned")
        if box.claim_verifier is None:
            raise Refused("claimed")
        self._check_code(code_matches(call.code, box.claim_verifier), CLAIM_GUESSES, "claim_code")
        member = await self._new_member(secrets.token_hex(16), call.name, call.password, call.practice_name)

        def claim(state: State, now: int) -> State:
            if state.box.claim_verifier is None:
                raise Refused("claimed")
            claimed = replace(
                state.box, claim_verifier=None, practice_name=call.practice_name, telephone=call.telephone
            )
            return replace(state, box=claimed, accounts=staff.add_member(state.accounts, member, now))

        self._vault.check_change(claim)
        await self._vault.audit.append("box_claimed", actor=member.principal)
        await self._vault.change(claim)
        return self._begin_session(member.principal)

    async def answer_log_in(self, call: LogIn, _: Caller) -> NewSession:
        """Check name and password; the work is the same whether there is such a name or not."""
        member = await checked_member(self._vault, call.name, call.password)
        await self._vault.audit.append("staff_logged_in", actor=member.principal)
        if member.principal not in self._vault.state.accounts.members:  # removed while audit wrote
            raise Refused("login")
        return self._begin_session(member.principal)

    async def answer_check_session(self, call: CheckSession, _: Caller) -> Session:
        """Say who a token speaks for."""
        accounts, now = self._vault.state.accounts, self._vault.now()
        device = staff.find_device(accounts, token_verifier(call.session))
        if device is not None:
            self._vault.devices_used_at[device.principal] = now
            return Session(kind="device", principal=device.principal, name=device.label, idle_s_left=IDLE_TIMEOUT_S)
        session = self._vault.sessions.check(call.session, now, touch=call.touch)
        if session.principal not in accounts.members:
            raise Refused("session")
        return Session(
            kind="staff",
            principal=session.principal,
            name=accounts.members[session.principal].name,
            idle_s_left=session.idle_s_left(now),
            csrf=session.csrf,
        )

    async def answer_log_out(self, call: LogOut, _: Caller) -> Done:
        """End a session."""
        self._vault.sessions.end(call.session)
        return Done()

    async def answer_change_password(self, call: ChangePassword, _: Caller) -> Done:
        """Change the own password; the member's other screens are locked."""
        session = self._vault.staff_session(call.session)
        member = self._vault.state.accounts.members[session.principal]
        staff.check_password(call.new_password, self._own_names(member.name))
        await checked_member(self._vault, member.name, call.old_password)
        verifier = await self._vault.passwords.make(call.new_password)
        await self._vault.audit.append("password_changed", actor=session.principal)
        await self._vault.change(
            lambda state, _: replace(state, accounts=staff.set_verifier(state.accounts, session.principal, verifier))
        )
        self._vault.sessions.end_of(session.principal, but=call.session)
        return Done()

    async def answer_accept_invitation(self, call: AcceptInvitation, _: Caller) -> NewSession:
        """Become a member of staff."""
        invited = staff.find_invited(self._vault.state.accounts, call.code, self._vault.now())
        self._check_code(invited is not None, INVITATION_GUESSES, "invitation")
        if invited is None:
            raise Refused("invitation")
        member = await self._new_member(invited.principal, invited.name, call.password)

        def join(state: State, now: int) -> State:
            if invited.principal not in state.accounts.invited or now >= invited.expires_at:
                raise Refused("invitation")
            return replace(state, accounts=staff.add_member(state.accounts, member, now))

        self._vault.check_change(join)
        await self._vault.audit.append("staff_joined", actor=member.principal)
        await self._vault.change(join)
        return self._begin_session(member.principal)

    def _check_code(self, right: bool, guesses: str, refusal: str) -> None:
        if right:
            self._vault.slow_down.forgive(guesses)
            return
        wait_s = self._vault.slow_down.charge(guesses, self._vault.now())
        if wait_s:
            raise Unavailable("slow_down", wait_s=wait_s)
        raise Refused(refusal)

    async def _new_member(self, principal: str, name: str, password: str, practice_name: str = "") -> Member:
        staff.name_key(name)
        staff.check_password(password, (*self._own_names(name), practice_name))
        verifier = await self._vault.passwords.make(password)
        return Member(principal=principal, name=name, since=self._vault.now(), verifier=verifier)

    def _own_names(self, name: str) -> tuple[str, ...]:
        box = self._vault.state.box
        return name, box.practice_name, box.page_host, box.lan_host, "praxissafe"

    def _begin_session(self, principal: str) -> NewSession:
        token, csrf = secrets.token_urlsafe(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
        self._vault.sessions.begin(token, principal, csrf, self._vault.now())
        return NewSession(session=token, idle_timeout_s=IDLE_TIMEOUT_S)
