"""vault as gateway sees it: two verbs about shares and the description of the box, in memory.

It keeps the rules a patient can notice (expiry first, five wrong tries for life, a right PIN refunds its own try),
so that the page can be tried without a TPM. tests/walks run against the real one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.contracts.values import ShareState
from appliance.contracts.vault import Box, Describe, OpenShare, PatientView, ShowShare
from appliance.core.errors import NotFound
from appliance.core.varlink import Answers, Caller

TRIES = 5


@dataclass
class SimulatedShare:
    """A share as vault holds it."""

    r: bytes
    pin: str
    expires_at: int
    tries_left: int = TRIES
    revoked: bool = False

    def state(self, now: float) -> ShareState:
        if self.revoked:
            return "revoked"
        if now >= self.expires_at:
            return "expired"
        return "open" if self.tries_left else "closed"


@dataclass
class SimulatedVault:
    """Shares by the hash of their proof; `now` is a clock."""

    box: str
    host: str
    port: int
    now: Callable[[], float]
    practice_name: str = "Praxis Dr. Anna Beispiel"
    telephone: str = "030 1234567"
    shares: dict[bytes, SimulatedShare] = field(default_factory=dict)

    def add(self, proof: bytes, share: SimulatedShare) -> None:
        self.shares[hashlib.sha256(proof).digest()] = share

    def find(self, proof: bytes) -> SimulatedShare:
        share = self.shares.get(hashlib.sha256(proof).digest())
        if share is None:
            raise NotFound("share")
        return share

    def view(self, share: SimulatedShare, r: bytes | None = None) -> PatientView:
        return PatientView(
            state=share.state(self.now()),
            tries_left=share.tries_left,
            practice_name=self.practice_name,
            telephone=self.telephone,
            box=self.box,
            expires_at=share.expires_at,
            r=r,
        )

    async def answer_describe(self, _: Describe, __: Caller) -> Box:
        return Box(
            box=self.box,
            page_host=self.host,
            page_port=self.port,
            lan_host="lan.localhost",
            lan_port=443,
            portal_address="portal.localhost:1",
            portal_name="portal.localhost",
            portal_ca="-",
            provisioned=True,
            claimed=True,
            practice_name=self.practice_name,
            telephone=self.telephone,
        )

    async def answer_show_share(self, call: ShowShare, _: Caller) -> PatientView:
        return self.view(self.find(call.proof))

    async def answer_open_share(self, call: OpenShare, _: Caller) -> PatientView:
        share = self.find(call.proof)
        if share.state(self.now()) != "open":
            return self.view(share)
        share.tries_left -= 1
        if call.pin != share.pin:
            return self.view(share)
        share.tries_left += 1
        return self.view(share, share.r)

    def answers(self) -> Answers:
        return {
            Describe: self.answer_describe,
            ShowShare: self.answer_show_share,
            OpenShare: self.answer_open_share,
        }
