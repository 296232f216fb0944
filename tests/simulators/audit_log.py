"""An audit process that keeps its entries in memory: same contract, same socket, no file.

`appended` holds what was asked; `before_answer` may look at the world at the moment an entry arrives, or raise.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from appliance.contracts.audit import AUDIT, Append, Appended, Entries, Entry, ReadEntries
from appliance.core.varlink import Caller, Peer, serve


@dataclass
class AuditSimulator:
    """The log."""

    peer: Peer
    appended: list[tuple[str, Append]] = field(default_factory=list)
    before_answer: Callable[[Append], None] = lambda entry: None

    @property
    def actions(self) -> list[str]:
        """The actions in order."""
        return [entry.action for _, entry in self.appended]

    async def answer_append(self, call: Append, caller: Caller) -> Appended:
        """Keep an entry."""
        self.before_answer(call)
        self.appended.append((caller.process, call))
        return Appended(index=len(self.appended) - 1, head=self._head())

    async def answer_read_entries(self, call: ReadEntries, _: Caller) -> Entries:
        """Give entries, newest first."""
        entries = [
            Entry(
                index=index,
                at=0,
                process=process,
                action=entry.action,
                actor=entry.actor or "",
                patient=entry.patient or "",
                document=entry.document or "",
                share=entry.share or "",
            )
            for index, (process, entry) in enumerate(self.appended)
            if (call.before is None or index < call.before) and call.patient in (None, entry.patient)
        ]
        return Entries(entries=entries[::-1][: call.count], size=len(self.appended), head=self._head())

    def _head(self) -> bytes:
        return hashlib.sha256(repr(self.appended).encode()).digest()


@contextlib.asynccontextmanager
async def audit_simulator(folder: Path, process: str = "vault") -> AsyncIterator[AuditSimulator]:
    """Serve the log on `<folder>/audit.sock` for this user, who counts as `process`; ends it."""
    path = folder / "audit.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        simulator = AuditSimulator(Peer(AUDIT, path))
        answers = {Append: simulator.answer_append, ReadEntries: simulator.answer_read_entries}
        task = asyncio.create_task(serve(listener, [(AUDIT, answers)], {os.getuid(): process}))
        try:
            yield simulator
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task
            path.unlink()
