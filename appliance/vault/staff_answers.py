"""Answers of vault about who may use the box: staff, invitations, devices. The rules are in staff.py.

An entry in the audit log comes before what it tells takes effect; if audit is away, nothing happens.
"""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from appliance.contracts.vault import (
    Accounts,
    CreateDeviceToken,
    Device,
    Invitation,
    InviteStaff,
    ListAccounts,
    NewDevice,
    RemoveStaff,
    RevokeDeviceToken,
    StaffMember,
)
from appliance.core.varlink import Answers, Caller, Done
from appliance.vault import staff
from appliance.vault.codes import CODE_BYTES, code_verifier, format_code
from appliance.vault.sessions import TOKEN_BYTES, token_verifier
from appliance.vault.staff import Invited, PracticeDevice
from appliance.vault.state import State
from appliance.vault.vault import Vault


class StaffAnswers:
    """Answers about staff and devices."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def table(self) -> Answers:
        """Give the verbs about staff and devices."""
        return {
            InviteStaff: self.answer_invite_staff,
            ListAccounts: self.answer_list_accounts,
            RemoveStaff: self.answer_remove_staff,
            CreateDeviceToken: self.answer_create_device_token,
            RevokeDeviceToken: self.answer_revoke_device_token,
        }

    async def answer_invite_staff(self, call: InviteStaff, _: Caller) -> Invitation:
        """Invite by name."""
        session, now = self._vault.staff_session(call.session), self._vault.now()
        code = format_code(secrets.token_bytes(CODE_BYTES))
        invited = Invited(
            principal=secrets.token_hex(16),
            name=call.name,
            since=now,
            expires_at=now + staff.INVITATION_S,
            code_verifier=code_verifier(code),
        )

        def invite(state: State, now: int) -> State:
            return replace(state, accounts=staff.invite(state.accounts, invited, now))

        self._vault.check_change(invite)
        await self._vault.audit.append("staff_invited", actor=session.principal)
        await self._vault.change(invite)
        return Invitation(code=code, expires_at=invited.expires_at)

    async def answer_list_accounts(self, call: ListAccounts, _: Caller) -> Accounts:
        """List staff, invitations and devices, each by age."""
        self._vault.staff_session(call.session)
        accounts = staff.note_use(self._vault.state.accounts, self._vault.devices_used_at)
        now = self._vault.now()
        members = [
            StaffMember(principal=one.principal, name=one.name, since=one.since, invited=False)
            for one in accounts.members.values()
        ]
        members += [
            StaffMember(principal=one.principal, name=one.name, since=one.since, invited=True)
            for one in accounts.invited.values()
            if now < one.expires_at
        ]
        devices = [
            Device(principal=one.principal, label=one.label, since=one.since, last_used_at=one.last_used_at)
            for one in accounts.devices.values()
        ]
        return Accounts(staff=members, devices=devices)

    async def answer_remove_staff(self, call: RemoveStaff, _: Caller) -> Done:
        """Remove a member or an invitation."""
        session = self._vault.staff_session(call.session)

        def remove(state: State, _: int) -> State:
            return replace(state, accounts=staff.remove(state.accounts, call.principal))

        self._vault.check_change(remove)
        await self._vault.audit.append("staff_removed", actor=session.principal)
        await self._vault.change(remove)
        self._vault.sessions.end_of(call.principal)
        return Done()

    async def answer_create_device_token(self, call: CreateDeviceToken, _: Caller) -> NewDevice:
        """Make a practice software's token; kept is its SHA-256."""
        session, token = self._vault.staff_session(call.session), secrets.token_urlsafe(TOKEN_BYTES)
        device = PracticeDevice(
            principal=secrets.token_hex(16),
            label=call.label,
            since=self._vault.now(),
            token_verifier=token_verifier(token),
        )

        def add(state: State, _: int) -> State:
            return replace(state, accounts=staff.add_device(state.accounts, device))

        self._vault.check_change(add)
        await self._vault.audit.append("device_made", actor=session.principal)
        await self._vault.change(add)
        return NewDevice(principal=device.principal, token=token)

    async def answer_revoke_device_token(self, call: RevokeDeviceToken, _: Caller) -> Done:
        """End a device's token."""
        session = self._vault.staff_session(call.session)

        def remove(state: State, _: int) -> State:
            return replace(state, accounts=staff.remove_device(state.accounts, call.principal))

        self._vault.check_change(remove)
        await self._vault.audit.append("device_revoked", actor=session.principal)
        await self._vault.change(remove)
        return Done()
