"""A vault that keeps everything in memory: sessions, document keys, shares; same contract, same socket, no TPM.

Sessions are put in by the test; a document key is "wrapped" by AES-GCM under a key of this run; shares follow
the contract's states. Verbs nobody simulates here answer Refused("not_simulated").
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.contracts import vault as contract
from appliance.contracts.vault import VAULT, Box, DatabaseKey, DocumentKey, NewShare, PatientView, Session, WrappedKey
from appliance.core.errors import Invalid, NotFound, Refused, Tampered, Unavailable
from appliance.core.varlink import Caller, Done, Peer, serve


@dataclass
class SimulatedShare:
    """One share and what opens it."""

    status: contract.ShareStatus
    proof_verifier: bytes
    r: bytes
    pin: str
    published: bool = False


@dataclass
class VaultPeer:
    """The vault. `now` is its clock; `asked` the names of the verbs that changed something, in order."""

    peer: Peer
    now: int = 1_700_000_000
    box: str = field(default_factory=lambda: os.urandom(16).hex())
    database_key: bytes = field(default_factory=lambda: os.urandom(32))
    #: generation -> key: one, or two while it turns.
    erasure_keys: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    sessions: dict[str, Session] = field(default_factory=dict)
    shares: dict[str, SimulatedShare] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    #: What lists of what was erased are proven by; none without a kit.
    kit_key: bytes = b""

    def log_in(self, kind: str = "staff", name: str = "Dr. Test") -> str:
        """Give the token of a new principal."""
        token = os.urandom(24).hex()
        self.sessions[token] = Session(kind=kind, principal=os.urandom(16).hex(), name=name, idle_s_left=900)
        return token

    def session(self, token: str) -> Session:
        if token not in self.sessions:
            raise Refused("session")
        return self.sessions[token]

    async def answer_describe(self, _: contract.Describe, __: Caller) -> Box:
        return Box(
            box=self.box,
            page_host="praxis-test.localhost",
            page_port=8444,
            lan_host="praxis-test-lan.localhost",
            lan_port=8443,
            portal_address="127.0.0.1:8444",
            portal_name="praxis-portal.localhost",
            portal_ca="-",
            provisioned=True,
            claimed=True,
            practice_name="Praxis",
            telephone="030 1",
        )

    async def answer_check_session(self, call: contract.CheckSession, _: Caller) -> Session:
        return self.session(call.session)

    async def answer_open_database(self, _: contract.OpenDatabase, __: Caller) -> DatabaseKey:
        return DatabaseKey(key=self.database_key)

    async def answer_wrap(self, call: contract.WrapDocumentKey, _: Caller) -> WrappedKey:
        generation = max(self.erasure_keys)
        return WrappedKey(wrapped=self.wrap(generation, call.document, call.key), generation=generation)

    async def answer_unwrap(self, call: contract.UnwrapDocumentKey, _: Caller) -> DocumentKey:
        if call.generation not in self.erasure_keys:
            raise Unavailable("key_turned")
        return DocumentKey(key=self.unwrap(call.generation, call.document, call.wrapped))

    def wrap(self, generation: int, document: str, key: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + AESGCM(self.erasure_keys[generation]).encrypt(nonce, key, document.encode())

    def unwrap(self, generation: int, document: str, wrapped: bytes) -> bytes:
        try:
            return AESGCM(self.erasure_keys[generation]).decrypt(wrapped[:12], wrapped[12:], document.encode())
        except InvalidTag as error:
            raise Tampered("document_key") from error

    async def answer_name_erasure_generations(self, _: contract.NameErasureGenerations, __: Caller):
        return contract.ErasureGenerations(oldest=min(self.erasure_keys), newest=max(self.erasure_keys))

    async def answer_begin_turn(self, call: contract.BeginTurn, _: Caller) -> Done:
        self.asked.append("BeginTurn")
        if call.generation == max(self.erasure_keys) + 1 and len(self.erasure_keys) == 1:
            self.erasure_keys[call.generation] = os.urandom(32)
        elif call.generation != max(self.erasure_keys):
            raise Invalid("generation")
        return Done()

    async def answer_turn_document_keys(self, call: contract.TurnDocumentKeys, _: Caller) -> contract.TurnedKeys:
        if len(self.erasure_keys) == 1:
            raise Invalid("generation")
        old, new = sorted(self.erasure_keys)
        turned: list[bytes | None] = []
        for one in call.documents:
            try:
                turned.append(self.wrap(new, one.document, self.unwrap(old, one.document, one.wrapped)))
            except Tampered:
                turned.append(None)
        return contract.TurnedKeys(wrapped=turned)

    async def answer_finish_turn(self, call: contract.FinishTurn, _: Caller) -> Done:
        self.asked.append("FinishTurn")
        if call.generation != max(self.erasure_keys):
            raise Invalid("generation")
        self.erasure_keys = {call.generation: self.erasure_keys[call.generation]}
        return Done()

    async def answer_prove_erased_list(self, call: contract.ProveErasedList, _: Caller) -> contract.ErasedListProof:
        proof = hmac.digest(self.kit_key, call.digest, "sha256") if self.kit_key else b""
        return contract.ErasedListProof(proof=proof)

    async def answer_make_share(self, call: contract.MakeShare, _: Caller) -> NewShare:
        self.session(call.session)
        self.asked.append("MakeShare")
        status = contract.ShareStatus(
            share=os.urandom(16).hex(),
            patient=call.patient,
            documents=call.documents,
            state="open",
            made_at=self.now,
            expires_at=self.now + call.valid_s,
            tries_left=5,
            opened=0,
            last_opened_at=0,
            pin_printed=False,
        )
        pin = f"{int.from_bytes(os.urandom(4), 'big') % 10**call.pin_digits:0{call.pin_digits}}"
        made = SimulatedShare(status, call.proof_verifier, os.urandom(32), pin)
        self.shares[status.share] = made
        return NewShare(share=status.share, r=made.r, expires_at=status.expires_at)

    async def answer_publish_share(self, call: contract.PublishShare, _: Caller) -> Done:
        self.asked.append("PublishShare")
        self.shares[call.share].published = True
        return Done()

    async def answer_list_shares(self, call: contract.ListShares, _: Caller) -> contract.Shares:
        self.session(call.session)
        listed = [
            share.status
            for share in reversed(self.shares.values())
            if share.published
            and call.patient in (None, share.status.patient)
            and call.share in (None, share.status.share)
            and call.ended in (None, share.status.state != "open")
        ]
        return contract.Shares(shares=listed[call.after : call.after + call.count], total=len(listed))

    async def answer_name_live_shares(self, _: contract.NameLiveShares, __: Caller) -> contract.LiveShares:
        return contract.LiveShares(
            shares=[name for name, share in self.shares.items() if share.status.state == "open"]
        )

    async def answer_revoke_share(self, call: contract.RevokeShare, _: Caller) -> Done:
        self.asked.append("RevokeShare")
        if call.share not in self.shares:
            raise NotFound("share")
        self.end(call.share, "revoked")
        return Done()

    async def answer_revoke_shares_of(self, call: contract.RevokeSharesOf, _: Caller) -> contract.RevokedShares:
        self.asked.append("RevokeSharesOf")
        named = [
            name
            for name, share in self.shares.items()
            if call.document in share.status.documents and share.status.state == "open"
        ]
        for name in named:
            self.end(name, "revoked")
        return contract.RevokedShares(shares=named)

    async def answer_show_share(self, call: contract.ShowShare, _: Caller) -> PatientView:
        return self.view(self.find(call.proof))

    async def answer_open_share(self, call: contract.OpenShare, _: Caller) -> PatientView:
        share = self.find(call.proof)
        if share.status.state != "open":
            return self.view(share)
        if call.pin == share.pin:
            share.status.opened += 1
            share.status.last_opened_at = self.now
            return self.view(share, share.r)
        share.status.tries_left -= 1
        if not share.status.tries_left:
            self.end(share.status.share, "closed")
        return self.view(share)

    def end(self, share: str, state: str) -> None:
        """End a share: its half of the key is gone."""
        self.shares[share].status.state = state
        self.shares[share].r = b""

    def find(self, proof: bytes) -> SimulatedShare:
        for share in self.shares.values():
            if share.published and share.proof_verifier == hashlib.sha256(proof).digest():
                return share
        raise NotFound("share")

    def view(self, share: SimulatedShare, r: bytes | None = None) -> PatientView:
        return PatientView(
            state=share.status.state,
            tries_left=share.status.tries_left,
            practice_name="Praxis",
            telephone="030 1",
            box=self.box,
            expires_at=share.status.expires_at,
            r=r,
        )

    def table(self):
        """Give an answer for every verb."""

        async def not_simulated(*_):
            raise Refused("not_simulated")

        return dict.fromkeys(VAULT.verbs.values(), not_simulated) | {
            contract.Describe: self.answer_describe,
            contract.CheckSession: self.answer_check_session,
            contract.OpenDatabase: self.answer_open_database,
            contract.WrapDocumentKey: self.answer_wrap,
            contract.UnwrapDocumentKey: self.answer_unwrap,
            contract.NameErasureGenerations: self.answer_name_erasure_generations,
            contract.BeginTurn: self.answer_begin_turn,
            contract.TurnDocumentKeys: self.answer_turn_document_keys,
            contract.FinishTurn: self.answer_finish_turn,
            contract.ProveErasedList: self.answer_prove_erased_list,
            contract.MakeShare: self.answer_make_share,
            contract.PublishShare: self.answer_publish_share,
            contract.ListShares: self.answer_list_shares,
            contract.NameLiveShares: self.answer_name_live_shares,
            contract.RevokeShare: self.answer_revoke_share,
            contract.RevokeSharesOf: self.answer_revoke_shares_of,
            contract.ShowShare: self.answer_show_share,
            contract.OpenShare: self.answer_open_share,
        }


@contextlib.asynccontextmanager
async def vault_peer(folder: Path, process: str = "records") -> AsyncIterator[VaultPeer]:
    """Serve a vault on `<folder>/vault.sock` for this user, who counts as `process`; ends it."""
    path = folder / "vault.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        vault = VaultPeer(Peer(VAULT, path))
        task = asyncio.create_task(serve(listener, [(VAULT, vault.table())], {os.getuid(): process}))
        try:
            yield vault
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task
            path.unlink()
