import asyncio
import contextlib
import os
import socket

import pytest

from appliance.audit.answers import AuditAnswers
from appliance.audit.log import AuditLog
from appliance.contracts.audit import AUDIT
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.core.varlink import Peer, serve


@contextlib.asynccontextmanager
async def audit_process(folder, *, caller="records", clock=lambda: 1_700_000_000):
    """The real answers over a real socket; the kernel's word for this test's user is `caller`."""
    log = AuditLog(folder)
    path = folder / "audit.sock"
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    answers = AuditAnswers(log, clock)
    served = [(AUDIT, answers.table()), (PROCESS, PROCESS_ANSWERS)]
    task = asyncio.create_task(serve(listener, served, {os.getuid(): caller}))
    try:
        yield Peer(AUDIT, path)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        listener.close()
        log.close()


@pytest.fixture
def audit(tmp_path):
    return lambda **options: audit_process(tmp_path, **options)
