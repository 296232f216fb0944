"""A vault on the bench: real TPM in software, real state folder, audit in memory, a clock set by hand."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from appliance.contracts.vault import Claim, FinishProvisioning, MakeShare, Provision, PublishShare, ReadPin
from appliance.core.errors import Tampered
from appliance.core.varlink import Call, Caller
from appliance.vault.answers import VaultAnswers
from appliance.vault.audit_log import AuditLog
from appliance.vault.clock import Clock
from appliance.vault.hierarchy import Keys
from appliance.vault.state import State
from appliance.vault.state_file import decode_file
from appliance.vault.vault import Vault, open_vault
from tests.simulators.audit_log import AuditSimulator
from tests.simulators.release import Release

PASSWORD = "correct horse battery"
PATIENT, DOCUMENT = "0" * 32, "d" * 32
PROVISION = Provision(
    page_host="praxis-{box}.localhost",
    page_port=8444,
    lan_host="praxis-{box}-lan.localhost",
    lan_port=8443,
    portal_address="127.0.0.1:8444",
    portal_name="praxis-portal.localhost",
    portal_ca="-----BEGIN CERTIFICATE-----\n",
    serial="PS-0001",
)


@dataclass
class HandClock:
    """A clock that is set by hand."""

    at: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class MadeShare:
    """A published share as its creator knows it."""

    share: str
    proof: bytes
    pin: str
    r: bytes
    expires_at: int

    @property
    def wrong_pin(self) -> str:
        """Some other PIN."""
        return f"{(int(self.pin) + 1) % 10 ** len(self.pin):0{len(self.pin)}}"


@dataclass
class Bench:
    """The folders, the TPM and the audit log that vaults are opened on, one after the other."""

    folder: Path
    tcti: str
    audit: AuditSimulator
    release: Release
    clock: HandClock = field(default_factory=HandClock)
    #: The time that really passes.
    steady: HandClock = field(default_factory=lambda: HandClock(0.0))

    @contextlib.asynccontextmanager
    async def open(self, folder: Path | None = None, tcti: str | None = None) -> AsyncIterator[Running]:
        """Open a vault; Tampered where it stays shut."""
        async with self.start(folder, tcti) as running:
            if running.vault.shut_because:
                raise Tampered(running.vault.shut_because)
            yield running

    @contextlib.asynccontextmanager
    async def start(self, folder: Path | None = None, tcti: str | None = None) -> AsyncIterator[Running]:
        """Start a vault, which may stay shut."""
        settings = self.release.settings(tcti or self.tcti, folder or self.folder)
        async with open_vault(settings, AuditLog(self.audit.peer), Clock(self.clock, self.steady)) as vault:
            yield Running(vault, self)


class Running:
    """A running vault, asked without a socket."""

    def __init__(self, vault: Vault, bench: Bench) -> None:
        self.vault = vault
        self.bench = bench
        self.table = VaultAnswers(vault).table()

    async def ask(self, call: Call[Any]) -> Any:
        """Ask as the contract's first caller."""
        return await self.table[type(call)](call, Caller(min(type(call).callers)))

    async def claimed(self) -> str:
        """Provision, finish, claim; give the session."""
        made = await self.ask(PROVISION)
        await self.ask(FinishProvisioning())
        claim = Claim(
            code=made.claim_code, name="Ada", password=PASSWORD, practice_name="Praxis Nord", telephone="040 1234"
        )
        return (await self.ask(claim)).session

    async def make_share(
        self, session: str, *, publish: bool = True, valid_s: int = 14 * 86400, **more: Any
    ) -> MadeShare:
        """Make a share as records does."""
        proof = secrets.token_bytes(32)
        call = MakeShare(
            session=session,
            proof_verifier=hashlib.sha256(proof).digest(),
            patient=PATIENT,
            valid_s=valid_s,
            **{"documents": [DOCUMENT], **more},
        )
        new = await self.ask(call)
        if publish:
            await self.ask(PublishShare(session=session, share=new.share))
        pin = (await self.ask(ReadPin(session=session, share=new.share))).pin
        return MadeShare(new.share, proof, pin, new.r, new.expires_at)

    def state_on_disk(self) -> tuple[State, bytes]:
        """Read the state file as a thief with all keys would: the state, and its whole plaintext."""
        keys: Keys = self.vault.keys.keys
        state, _ = decode_file((self.bench.folder / "state").read_bytes(), keys)
        return state, msgspec.msgpack.encode(state)
