"""What audit answers. Entries that wait while the disk syncs go to it together (group commit).

The process of an entry is the kernel's word (SO_PEERCRED), and each process may append only what it does itself:
gateway and practice cannot write history, records cannot say that a share was opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from appliance.audit.log import AuditLog
from appliance.contracts.audit import Append, Appended, Entries, Entry, ReadEntries
from appliance.core.errors import PraxisError, Refused
from appliance.core.metrics import Counter
from appliance.core.varlink import Answers, Caller
from appliance.formats.audit_log import LogEntry

#: Which entries are whose.
ACTIONS: Mapping[str, frozenset[str]] = {
    "records": frozenset(
        {
            "patient_made",
            "patient_corrected",
            "patient_deleted",
            "document_added",
            "document_read",
            "document_found",
            "document_erased",
            "document_erased_wrong_patient",
            "document_erased_duplicate",
            "document_erased_no_record",
            "document_erased_older_treatment",
            "restore_finished",
        }
    ),
    "vault": frozenset(
        {
            "box_provisioned",
            "box_claimed",
            "staff_logged_in",
            "staff_login_refused",
            "staff_invited",
            "staff_joined",
            "staff_removed",
            "password_changed",
            "device_made",
            "device_revoked",
            "share_made",
            "share_opened",
            "share_pin_wrong",
            "share_closed",
            "share_revoked",
            "box_locked",
            "box_unlocked",
            "unlock_pin_wrong",
            "unlocking_chosen",
            "computer_paired",
            "computer_removed",
            "kit_made",
            "kit_sheet_checked",
            "kit_check_failed",
            "restore_begun",
            "restore_refused",
            "restore_ended",
            "reset_refused",
            "box_reset",
        }
    ),
}

_entries = Counter("audit_entries_total", "Entries by whether they were appended.", ["appended", "failed"])


class AuditAnswers:
    """Answers for one log; the log's owner closes it."""

    def __init__(self, log: AuditLog, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._disk = asyncio.Lock()
        self._waiting: list[tuple[str, Append, asyncio.Future[Appended]]] = []

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {Append: self.answer_append, ReadEntries: self.answer_read_entries}

    async def answer_append(self, call: Append, caller: Caller) -> Appended:
        """Append; whoever gets the disk next takes along all who wait."""
        if call.action not in ACTIONS.get(caller.process, frozenset()):
            raise Refused("action")
        answer: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((caller.process, call, answer))
        async with self._disk:
            if not answer.done():
                await self._append_waiting()
        return answer.result()

    async def answer_read_entries(self, call: ReadEntries, _: Caller) -> Entries:
        """Read newest first."""
        async with self._disk:
            entries = await asyncio.to_thread(self._log.read, call.before, call.patient, call.count)
            return Entries(
                entries=[_contract_entry(entry) for entry in entries], size=self._log.size, head=self._log.head
            )

    async def _append_waiting(self) -> None:
        group, self._waiting = self._waiting, []
        pairs = [(process, call) for process, call, _ in group]
        try:
            appended = await asyncio.to_thread(self._log.append, pairs, int(self._clock()))
        except PraxisError as error:
            for _, _, answer in group:
                _entries.add("failed")
                answer.set_exception(error)
            return
        for (_, _, answer), (index, head) in zip(group, appended, strict=True):
            _entries.add("appended")
            answer.set_result(Appended(index=index, head=head))


def _contract_entry(entry: LogEntry) -> Entry:
    return Entry(
        index=entry.index,
        at=entry.at,
        process=entry.process,
        action=entry.action,  # type: ignore[arg-type]  # a code of a later release is shown as it is
        actor=entry.actor,
        patient=entry.patient,
        document=entry.document,
        share=entry.share,
    )
