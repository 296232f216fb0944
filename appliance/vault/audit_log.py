"""The audit log, as vault asks for it: an entry is on audit's disk before what it tells takes effect.

If audit does not answer, what was asked of vault is Unavailable("audit_away"). Its socket is systemd's and outlives
the process behind it: if nobody listens there for longer than 30 s, this process sees a socket that was replaced,
and ends itself to be started with the new one.
"""

from __future__ import annotations

import asyncio

from appliance.contracts.audit import Action, Append
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.varlink import Peer

ANSWER_TIMEOUT_S = 10.0
PATIENCE_S = 30.0


class AuditGone(Exception):
    """Audit's socket is gone for good; ends the process."""


class AuditLog:
    """Appends vault's entries."""

    def __init__(self, audit: Peer) -> None:
        self._audit = audit
        self._gone_since: float | None = None

    async def append(
        self,
        action: Action,
        *,
        actor: str | None = None,
        patient: str | None = None,
        document: str | None = None,
        share: str | None = None,
    ) -> None:
        """Append one entry; it is synced when this returns. Unavailable("audit_away")."""
        entry = Append(action=action, actor=actor, patient=patient, document=document, share=share)
        try:
            await self._audit.ask(entry, timeout_s=ANSWER_TIMEOUT_S)
        except PraxisError as error:
            self._note(gone=error.code == "peer_away")
            raise Unavailable("audit_away") from error
        self._note(gone=False)

    def _note(self, *, gone: bool) -> None:
        if not gone:
            self._gone_since = None
            return
        now = asyncio.get_running_loop().time()
        if self._gone_since is None:
            self._gone_since = now
        if now - self._gone_since > PATIENCE_S:
            raise AuditGone
