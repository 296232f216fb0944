"""Records beside the real vault (a TPM in software) and the real audit, in one process, over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from appliance.audit.answers import AuditAnswers
from appliance.contracts.audit import AUDIT
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer
from appliance.vault.audit_log import AuditLog as VaultsAudit
from appliance.vault.clock import Clock as VaultClock
from appliance.vault.vault import open_vault
from tests.records.bench import Bench, Clock, audit_answers, records_process, served
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import Running


@dataclass
class VaultSide:
    """What records sees of the rest of its box, whose records are not running yet; `records` runs them."""

    folder: Path
    clock: Clock
    vault: Running
    peer: Peer
    session: str
    audit: AuditAnswers

    def records(self, **settings) -> contextlib.AbstractAsyncContextManager[Bench]:
        return records_process(self.folder, self.peer, self.session, clock=self.clock, audit=self.audit, **settings)


@contextlib.asynccontextmanager
async def vault_side(folder: Path, clock: Clock) -> AsyncIterator[VaultSide]:
    """Vault and audit of one box; each peer's socket says who asks."""
    (folder / "vault").mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        tcti = stack.enter_context(software_tpm(folder / "tpm"))
        audit = stack.enter_context(audit_answers(folder / "audit", clock))
        told = await stack.enter_async_context(served(folder / "vault-audit.sock", AUDIT, audit.table(), "vault"))
        settings = booted(folder / "boot", tcti).settings(tcti, folder / "vault")
        vault = await stack.enter_async_context(
            open_vault(settings, VaultsAudit(told), VaultClock(clock, lambda: 0.0))
        )
        running = Running(vault, None)
        session = await running.claimed()
        peer = await stack.enter_async_context(served(folder / "vault.sock", VAULT, running.table, "records"))
        yield VaultSide(folder, clock, running, peer, session, audit)


@contextlib.asynccontextmanager
async def box(folder: Path, clock: Clock) -> AsyncIterator[tuple[Bench, Running]]:
    """Vault, audit and records of one box."""
    async with vault_side(folder, clock) as side, side.records() as bench:
        yield bench, side.vault
