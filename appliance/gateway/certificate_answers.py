"""Answers certificate: what is to be asked of the authority, its challenge, and the chain it gave.

Rules: vault knows a key before its request leaves; a challenge is answered for the account that vault names, whatever
certificate says; nothing secret is in an answer.
"""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from appliance.contracts.gateway import (
    AnswerChallenge,
    MakePageKey,
    NoteRevoked,
    PageRequest,
    ReadPageRequest,
    TakePageCertificate,
)
from appliance.contracts.page_key import ReadAcmeAccount, RegisterPageKey
from appliance.core.varlink import Answers, Caller, Done, Peer
from appliance.formats.acme import challenge_digest
from appliance.gateway.challenge import make_challenge
from appliance.gateway.page_certificate import PageCertificate


class CertificateAnswers:
    """Answers about the page's certificate; `vault` is asked for PageKey."""

    def __init__(self, certificate: PageCertificate, vault: Peer, state: Path) -> None:
        self._certificate = certificate
        self._vault = vault
        self._state = state
        self._registered = b""
        self._one_at_a_time = asyncio.Lock()

    def table(self) -> Answers:
        """Give the verbs answered here."""
        return {
            ReadPageRequest: self.answer_read_page_request,
            AnswerChallenge: self.answer_answer_challenge,
            TakePageCertificate: self.answer_take_page_certificate,
            MakePageKey: self.answer_make_page_key,
            NoteRevoked: self.answer_note_revoked,
        }

    async def answer_read_page_request(self, _: ReadPageRequest, __: Caller) -> PageRequest:
        """Give the request and what is served."""
        async with self._one_at_a_time:
            await self._register()
            page, now = self._certificate, _now()
            replaced = page.replaced(now)
            return PageRequest(
                request=page.request(),
                needed=page.is_needed,
                not_before=int(page.leaf.not_valid_before_utc.timestamp()) if page.leaf else 0,
                not_after=int(page.leaf.not_valid_after_utc.timestamp()) if page.leaf else 0,
                replaced=replaced[0].public_bytes(Encoding.DER) if replaced else b"",
            )

    async def answer_answer_challenge(self, call: AnswerChallenge, _: Caller) -> Done:
        """Answer for this box's own account."""
        account = await self._vault.ask(ReadAcmeAccount(url=call.url))
        digest = challenge_digest(call.token, account.thumbprint)
        self._certificate.answer_challenge(make_challenge(self._certificate.host, digest, self._state, _now()))
        return Done()

    async def answer_take_page_certificate(self, call: TakePageCertificate, _: Caller) -> Done:
        """Take a chain."""
        async with self._one_at_a_time:
            self._certificate.take(call.chain, _now())
            return Done()

    async def answer_make_page_key(self, _: MakePageKey, __: Caller) -> Done:
        """Make the next key."""
        async with self._one_at_a_time:
            self._certificate.make_key()
            await self._register()
            return Done()

    async def answer_note_revoked(self, _: NoteRevoked, __: Caller) -> Done:
        """Forget a replaced key's certificate."""
        async with self._one_at_a_time:
            self._certificate.note_revoked(_now())
            return Done()

    async def _register(self) -> None:
        key = self._certificate.key
        if key != self._registered:
            await self._vault.ask(RegisterPageKey(public_key=key))
            self._registered = key


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
