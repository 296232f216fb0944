"""Answers of vault about shares. The rules are in shares.py; here is their order with disk and audit.

Opening, one at a time for all shares: take the try, sync; compare; right: audit's entry, give back the try, sync,
then `r`; wrong: close after the last one, sync, audit's entries. If audit is away, no `r` leaves and the try stays
taken. Ending a share comes before its entry: it must not wait for audit; asked again, it only appends the entry
that was missing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from appliance.contracts.vault import (
    ConfirmPin,
    ListShares,
    LiveShares,
    MakeShare,
    NameLiveShares,
    NewShare,
    OpenShare,
    PatientView,
    PublishShare,
    ReadPin,
    RevokedShares,
    RevokeRequestedSince,
    RevokeShare,
    RevokeSharesOf,
    SharePin,
    Shares,
    ShareStatus,
    ShowShare,
)
from appliance.core.errors import NotFound, Unavailable
from appliance.core.metrics import Counter
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.share_link import RELEASE_BYTES, proof_verifier
from appliance.vault import shares
from appliance.vault.hierarchy import pin_verifier
from appliance.vault.password_proof import proven_session
from appliance.vault.shares import Share
from appliance.vault.state import State
from appliance.vault.vault import Vault

#: What fits into one local message (1 MiB) with room for its frame.
MAX_LIST_BYTES = 900 * 1024

_openings = Counter(
    "vault_share_openings_total",
    "Answers to OpenShare.",
    ["opened", "wrong", "closed", "expired", "revoked", "unknown", "audit_away"],
)


class ShareAnswers:
    """Answers about shares."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opening = asyncio.Lock()

    def table(self) -> Answers:
        """Give the verbs about shares."""
        return {
            MakeShare: self.answer_make_share,
            PublishShare: self.answer_publish_share,
            ReadPin: self.answer_read_pin,
            ConfirmPin: self.answer_confirm_pin,
            ListShares: self.answer_list_shares,
            NameLiveShares: self.answer_name_live_shares,
            RevokeShare: self.answer_revoke_share,
            RevokeSharesOf: self.answer_revoke_shares_of,
            RevokeRequestedSince: self.answer_revoke_requested_since,
            ShowShare: self.answer_show_share,
            OpenShare: self.answer_open_share,
        }

    async def answer_make_share(self, call: MakeShare, _: Caller) -> NewShare:
        """Begin a share; one audit entry for each document, so that a window of time names them all."""
        staff = self._vault.staff_session(call.session)
        made_at = self._vault.now()
        share_id, pin = secrets.token_hex(16), f"{secrets.randbelow(10**call.pin_digits):0{call.pin_digits}}"
        share = Share(
            share=share_id,
            proof_verifier=call.proof_verifier,
            patient=call.patient,
            documents=list(dict.fromkeys(call.documents)),
            made_by=staff.principal,
            made_at=made_at,
            expires_at=made_at + call.valid_s,
            pin_verifier=pin_verifier(self._vault.keys.keys, share_id, pin),
            pin=pin,
            r=secrets.token_bytes(RELEASE_BYTES),
        )

        def add(state: State, _: int) -> State:
            return replace(state, shares=shares.add(state.shares, share))

        self._vault.check_change(add)
        for document in share.documents:
            await self._vault.audit.append(
                "share_made", actor=staff.principal, patient=share.patient, document=document, share=share_id
            )
        await self._vault.change(add)
        return NewShare(share=share_id, r=_held(share.r), expires_at=share.expires_at)

    async def answer_publish_share(self, call: PublishShare, _: Caller) -> Done:
        """Let it be opened."""
        self._vault.staff_session(call.session)
        await self._change_share(call.share, shares.publish)
        return Done()

    async def answer_read_pin(self, call: ReadPin, _: Caller) -> SharePin:
        """Give the PIN to print."""
        staff = self._vault.staff_session(call.session)
        share = shares.notice(shares.get(self._vault.state.shares, call.share), self._vault.now())
        return SharePin(pin=shares.read_pin(share, staff.principal))

    async def answer_confirm_pin(self, call: ConfirmPin, _: Caller) -> Done:
        """Forget the PIN."""
        staff = self._vault.staff_session(call.session)
        await self._change_share(call.share, lambda share, _: shares.confirm_pin(share, staff.principal))
        return Done()

    async def answer_list_shares(self, call: ListShares, _: Caller) -> Shares:
        """List a page of shares, newest first; it ends early where a message is full."""
        self._vault.staff_session(call.session)
        found = shares.newest_first(
            noticed
            for noticed in self._noticed()
            if noticed.stage != "made"
            and call.patient in (None, noticed.patient)
            and call.share in (None, noticed.share)
            and call.ended in (None, noticed.stage != "open")
        )
        listed, room = [], MAX_LIST_BYTES
        for share in found[call.after : call.after + call.count]:
            status = _status(share)
            room -= len(msgspec.json.encode(status)) + 1
            if room < 0:
                break
            listed.append(status)
        return Shares(shares=listed, total=len(found))

    async def answer_name_live_shares(self, _: NameLiveShares, __: Caller) -> LiveShares:
        """Name what has not ended."""
        return LiveShares(shares=[share.share for share in self._noticed() if share.stage in ("made", "open")])

    async def answer_revoke_share(self, call: RevokeShare, _: Caller) -> Done:
        """End a share."""
        staff = self._vault.staff_session(call.session)
        share = await self._change_share(call.share, shares.revoke)
        await self._vault.audit.append(
            "share_revoked", actor=staff.principal, patient=share.patient, share=share.share
        )
        return Done()

    async def answer_revoke_shares_of(self, call: RevokeSharesOf, _: Caller) -> RevokedShares:
        """End every share that names a document."""
        staff = self._vault.staff_session(call.session)
        named: list[str] = []

        def revoke(state: State, now: int) -> State:
            named[:] = shares.naming(state.shares, call.document)
            ended = [shares.revoke(state.shares[name], now) for name in named]
            return replace(state, shares=shares.put(state.shares, *ended)) if ended else state

        state = await self._vault.change(revoke)
        for name in named:
            await self._vault.audit.append(
                "share_revoked",
                actor=staff.principal,
                patient=state.shares[name].patient,
                document=call.document,
                share=name,
            )
        return RevokedShares(shares=named)

    async def answer_revoke_requested_since(self, call: RevokeRequestedSince, _: Caller) -> RevokedShares:
        """End what a stolen page key may have given away."""
        staff = await proven_session(self._vault, call.session, call.password)
        named: list[str] = []

        def revoke(state: State, now: int) -> State:
            named[:] = shares.requested_since(state.shares, call.since, every=call.every)
            ended = [shares.revoke(state.shares[name], now) for name in named]
            return replace(state, shares=shares.put(state.shares, *ended)) if ended else state

        state = await self._vault.change(revoke)
        for name in named:
            patient = state.shares[name].patient
            await self._vault.audit.append("share_revoked", actor=staff.principal, patient=patient, share=name)
        return RevokedShares(shares=named)

    async def answer_show_share(self, call: ShowShare, _: Caller) -> PatientView:
        """Tell the holder of the link its state; writes nothing."""
        share = shares.find(self._vault.state.shares, proof_verifier(call.proof))
        return self._view(shares.notice(share, self._vault.now()))

    async def answer_open_share(self, call: OpenShare, _: Caller) -> PatientView:
        """Take the try, compare, tell audit, give `r`."""
        async with self._opening:
            try:
                view = await self._open(call)
            except NotFound:
                _openings.add("unknown")
                raise
            except Unavailable as error:
                if error.code == "audit_away":
                    _openings.add("audit_away")
                raise
        outcome = view.state if view.r is None else "opened"
        _openings.add("wrong" if outcome == "open" else outcome)
        return view

    async def _open(self, call: OpenShare) -> PatientView:
        name = shares.find(self._vault.state.shares, proof_verifier(call.proof)).share
        before = self._vault.state.shares[name]
        share = await self._change_share(name, shares.take_try)
        if share.stage == "open":
            if shares.pin_is_right(share, pin_verifier(self._vault.keys.keys, name, call.pin)):
                await self._vault.audit.append("share_opened", patient=share.patient, share=name)
                share = await self._change_share(name, shares.give_back_try)
                return self._view(share, share.r if share.stage == "open" else None)
            share = await self._change_share(name, shares.count_wrong)
            await self._vault.audit.append("share_pin_wrong", patient=share.patient, share=name)
        if share.stage == "closed" and before.stage == "open":
            await self._vault.audit.append("share_closed", patient=share.patient, share=name)
        return self._view(share)

    async def _change_share(self, name: str, rule: Callable[[Share, int], Share]) -> Share:
        """Apply a rule to one share and give it as it is on disk now. NotFound("share")."""

        def change(state: State, now: int) -> State:
            share = shares.get(state.shares, name)
            changed = rule(share, now)
            return state if changed is share else replace(state, shares=shares.put(state.shares, changed))

        state = await self._vault.change(change)
        return state.shares[name]

    def _noticed(self) -> list[Share]:
        """Give every share as it is now."""
        now = self._vault.now()
        return [shares.notice(share, now) for share in self._vault.state.shares.values()]

    def _view(self, share: Share, r: bytes | None = None) -> PatientView:
        box = self._vault.state.box
        if share.stage == "made":
            raise NotFound("share")
        return PatientView(
            state=share.stage,
            tries_left=share.tries_left if share.stage == "open" else 0,
            practice_name=box.practice_name,
            telephone=box.telephone,
            box=box.box,
            expires_at=share.expires_at,
            r=r,
        )


def _status(share: Share) -> ShareStatus:
    return ShareStatus(
        share=share.share,
        patient=share.patient,
        documents=share.documents,
        state="open" if share.stage == "made" else share.stage,
        made_at=share.made_at,
        expires_at=share.expires_at,
        tries_left=share.tries_left if share.stage == "open" else 0,
        opened=share.opened,
        last_opened_at=share.last_opened_at,
        pin_printed=share.pin is None,
    )


def _held(r: bytes | None) -> bytes:
    if r is None:
        raise NotFound("share")
    return r
