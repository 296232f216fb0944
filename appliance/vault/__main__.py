"""`python -m appliance.vault`: wires vault together; no logic here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping

from appliance.contracts.audit import AUDIT
from appliance.contracts.page_key import PAGE_KEY
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.vault import VAULT
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer, serve
from appliance.vault.answers import VaultAnswers
from appliance.vault.audit_log import AuditLog
from appliance.vault.clock import Clock
from appliance.vault.page_key_answers import PageKeyAnswers
from appliance.vault.settings import VaultSettings
from appliance.vault.vault import open_vault

#: How long the last answers take to leave before a locked vault ends; systemd starts it anew, with no key in it.
ANSWERS_LEAVE_S = 0.2


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Open the vault and serve local calls."""
    settings = read_settings(VaultSettings, "vault")
    audit = AuditLog(Peer.of(AUDIT, "audit"))
    async with open_vault(settings, audit, Clock()) as vault, asyncio.TaskGroup() as group:
        served = [
            (VAULT, VaultAnswers(vault).table()),
            (PAGE_KEY, PageKeyAnswers(vault).table()),
            (PROCESS, PROCESS_ANSWERS),
        ]
        work = [
            group.create_task(serve(sockets["local"], served)),
            group.create_task(vault.keep_house_for_ever()),
        ]
        report_ready()
        await vault.ends.wait()
        await asyncio.sleep(ANSWERS_LEAVE_S)
        for task in work:
            task.cancel()


if __name__ == "__main__":
    run(main)
