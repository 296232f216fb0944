"""Proving a password: at log-in, and once more before what a borrowed screen must not do.

The work is the same whether there is such a name or not; wrong ones in a row are slowed down (slow_down.py) and each
is an entry in the audit log.
"""

from __future__ import annotations

from appliance.core.errors import Refused, Unavailable
from appliance.core.metrics import Counter
from appliance.vault import staff
from appliance.vault.sessions import StaffSession
from appliance.vault.staff import Member
from appliance.vault.vault import Vault

_log_ins = Counter("vault_log_ins_total", "Passwords that were to be proven.", ["right", "wrong", "slowed_down"])


async def checked_member(vault: Vault, name: str, password: str) -> Member:
    """Give the member; Refused("login") for any mismatch, Unavailable("slow_down", wait_s)."""
    key = staff.name_key(name)
    wait_s = vault.slow_down.charge(key, vault.now())
    if wait_s:
        _log_ins.add("slowed_down")
        raise Unavailable("slow_down", wait_s=wait_s)
    member = staff.find_member(vault.state.accounts, name)
    if await vault.passwords.check(member.verifier if member else None, password) and member:
        vault.slow_down.forgive(key)
        _log_ins.add("right")
        return member
    _log_ins.add("wrong")
    await vault.audit.append("staff_login_refused", actor=member.principal if member else None)
    raise Refused("login")


async def proven_session(vault: Vault, token: str, password: str) -> StaffSession:
    """Give the live session whose member has just proven the password again."""
    session = vault.staff_session(token)
    await checked_member(vault, vault.state.accounts.members[session.principal].name, password)
    return vault.staff_session(token)
