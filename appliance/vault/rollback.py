"""Which change of the state must not be undone by putting an older file back. Pure.

Such a change costs one step of the TPM's counter, of which a chip allows some hundred thousand, so it is taken only
where an older state would gain somebody something (docs/formats/vault-state.md, "Counting"). Rule: whatever is not
known to be harmless is counted, so a new member of the state is counted until somebody thinks about it.
"""

from __future__ import annotations

from msgspec.structs import replace

from appliance.vault import kit
from appliance.vault.shares import Share
from appliance.vault.staff import Accounts
from appliance.vault.state import State


def must_be_counted(old: State, new: State) -> bool:
    """Say whether going back from `new` to `old` would gain something."""
    return _without_what_is_harmless(old) != _without_what_is_harmless(new) or any(
        _gains(share, new.shares.get(name)) for name, share in old.shares.items()
    )


def _without_what_is_harmless(state: State) -> State:
    """Leave out the shares, looked at one by one; the time; when devices were used; the kits' generations."""
    devices = {name: replace(device, last_used_at=0) for name, device in state.accounts.devices.items()}
    accounts: Accounts = replace(state.accounts, devices=devices)
    kits = kit.without_what_is_harmless(state.kits)
    return replace(state, shares={}, seen_at=0, accounts=accounts, kits=kits)


def _gains(old: Share, new: Share | None) -> bool:
    """Say whether the share as it was could do more than it can now.

    Harmless: a share made or published since (it would be gone), a try given back, an opening counted, a tombstone
    forgotten, and a PIN printed: who made the share would see it once more, and has had it on paper.
    """
    if old is new or old.r is None:
        return False
    if new is None:
        return old.stage == "open"
    harmless = replace(
        old,
        stage="open" if (old.stage, new.stage) == ("made", "open") else old.stage,
        pin=new.pin,
        tries_left=max(old.tries_left, new.tries_left),
        opened=new.opened,
        last_opened_at=new.last_opened_at,
    )
    return harmless != new
