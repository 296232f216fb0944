"""The audit process: verifies its log, then answers on its local socket. Ends if the log was changed."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from appliance.audit.answers import AuditAnswers
from appliance.audit.log import AuditLog
from appliance.audit.settings import AuditSettings
from appliance.contracts.audit import AUDIT
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import serve


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Run until cancelled."""
    settings = read_settings(AuditSettings, "audit")
    with closing(AuditLog(Path(settings.state_folder))) as log:
        answers = AuditAnswers(log, time.time)
        report_ready()
        await serve(sockets["local"], [(AUDIT, answers.table()), (PROCESS, PROCESS_ANSWERS)])


if __name__ == "__main__":
    run(main)
