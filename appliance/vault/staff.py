"""Staff, invitations and devices: who may use the box. Pure; sessions are in sessions.py, hashing in passwords.py.

Rules: names are unique without regard to case and spacing; the last member stays; invitations live 7 days; a
password has at least 12 characters and is not the person's or the box's own name; a device's token is kept as its
SHA-256 only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

import msgspec

from appliance.contracts.values import MIN_PASSWORD_CHARACTERS
from appliance.core.errors import Invalid, NotFound, Unavailable
from appliance.vault.codes import code_matches

INVITATION_S = 7 * 86400
MAX_ACCOUNTS = 200


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A member of staff; `verifier` is the password's Argon2id string."""

    principal: str
    name: str
    since: int
    verifier: str


class Invited(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An invitation nobody accepted yet; who accepts becomes this principal."""

    principal: str
    name: str
    since: int
    expires_at: int
    code_verifier: bytes


class PracticeDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A practice software's token."""

    principal: str
    label: str
    since: int
    token_verifier: bytes
    last_used_at: int = 0


class Accounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may use the box, each by principal."""

    members: dict[str, Member] = {}
    invited: dict[str, Invited] = {}
    devices: dict[str, PracticeDevice] = {}


def name_key(name: str) -> str:
    """Give what two spellings of one name have in common; Invalid("name") if nothing is left."""
    key = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    if not key:
        raise Invalid("name")
    return key


def find_member(accounts: Accounts, name: str) -> Member | None:
    """Give the member of this name."""
    key = name_key(name)
    return next((member for member in accounts.members.values() if name_key(member.name) == key), None)


def check_password(password: str, own_names: Iterable[str]) -> None:
    """Raise Invalid("password_short") or Invalid("password_is_name") for a password that must not be set."""
    if len(unicodedata.normalize("NFKC", password)) < MIN_PASSWORD_CHARACTERS:
        raise Invalid("password_short", minimum=MIN_PASSWORD_CHARACTERS)
    letters = _letters(password)
    if letters and letters in {_letters(name) for name in own_names}:
        raise Invalid("password_is_name")


def add_member(accounts: Accounts, member: Member, now: int) -> Accounts:
    """Add a member; takes the place of the invitation with the same principal. Invalid("name_taken")."""
    accounts = _without(accounts, member.principal)
    _check_room(accounts, member.name, now)
    return msgspec.structs.replace(accounts, members={**accounts.members, member.principal: member})


def invite(accounts: Accounts, invited: Invited, now: int) -> Accounts:
    """Add an invitation. Invalid("name_taken")."""
    accounts = settle(accounts, now)
    _check_room(accounts, invited.name, now)
    return msgspec.structs.replace(accounts, invited={**accounts.invited, invited.principal: invited})


def find_invited(accounts: Accounts, code: str, now: int) -> Invited | None:
    """Give the live invitation of this code."""
    live = [invited for invited in accounts.invited.values() if now < invited.expires_at]
    return next((invited for invited in live if code_matches(code, invited.code_verifier)), None)


def remove(accounts: Accounts, principal: str) -> Accounts:
    """Remove a member or an invitation. NotFound("staff"), Invalid("last_member")."""
    if principal not in accounts.members and principal not in accounts.invited:
        raise NotFound("staff")
    if set(accounts.members) == {principal}:
        raise Invalid("last_member")
    return _without(accounts, principal)


def set_verifier(accounts: Accounts, principal: str, verifier: str) -> Accounts:
    """Give a member a new password. NotFound("staff")."""
    if principal not in accounts.members:
        raise NotFound("staff")
    changed = msgspec.structs.replace(accounts.members[principal], verifier=verifier)
    return msgspec.structs.replace(accounts, members={**accounts.members, principal: changed})


def add_device(accounts: Accounts, device: PracticeDevice) -> Accounts:
    """Add a device. Unavailable("accounts_full")."""
    if len(accounts.devices) >= MAX_ACCOUNTS:
        raise Unavailable("accounts_full", limit=MAX_ACCOUNTS)
    return msgspec.structs.replace(accounts, devices={**accounts.devices, device.principal: device})


def find_device(accounts: Accounts, token_verifier: bytes) -> PracticeDevice | None:
    """Give the device of this token. A plain comparison: see shares.find."""
    return next((device for device in accounts.devices.values() if device.token_verifier == token_verifier), None)


def remove_device(accounts: Accounts, principal: str) -> Accounts:
    """End a device's token. NotFound("device")."""
    if principal not in accounts.devices:
        raise NotFound("device")
    kept = {name: device for name, device in accounts.devices.items() if name != principal}
    return msgspec.structs.replace(accounts, devices=kept)


def note_use(accounts: Accounts, used_at: Mapping[str, int]) -> Accounts:
    """Keep when devices were last used."""
    devices = {
        name: msgspec.structs.replace(device, last_used_at=max(device.last_used_at, used_at.get(name, 0)))
        for name, device in accounts.devices.items()
    }
    return accounts if devices == accounts.devices else msgspec.structs.replace(accounts, devices=devices)


def settle(accounts: Accounts, now: int) -> Accounts:
    """Forget invitations that are over."""
    live = {name: invited for name, invited in accounts.invited.items() if now < invited.expires_at}
    return accounts if len(live) == len(accounts.invited) else msgspec.structs.replace(accounts, invited=live)


def _check_room(accounts: Accounts, name: str, now: int) -> None:
    held = [member.name for member in accounts.members.values()]
    held += [invited.name for invited in accounts.invited.values() if now < invited.expires_at]
    if name_key(name) in {name_key(one) for one in held}:
        raise Invalid("name_taken")
    if len(held) >= MAX_ACCOUNTS:
        raise Unavailable("accounts_full", limit=MAX_ACCOUNTS)


def _without(accounts: Accounts, principal: str) -> Accounts:
    return msgspec.structs.replace(
        accounts,
        members={name: member for name, member in accounts.members.items() if name != principal},
        invited={name: invited for name, invited in accounts.invited.items() if name != principal},
    )


def _letters(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKC", text).casefold() if letter.isalpha())
