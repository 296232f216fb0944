"""Kills one process of a running box and watches, from outside, whether it comes back.

Until the new process is there nothing is asked of it: a question would have systemd start it (socket activation), and
then it would not be back by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from appliance.contracts.certificate import CERTIFICATE, CertificateState, ReadState, Renew
from appliance.contracts.process import PROCESS, ReadMetrics
from appliance.core.errors import Unavailable
from appliance.core.varlink import Peer
from appliance.demo.processes import leader, unit_pids
from tests.kills.plan import PROCESSES
from tests.simulators.demo_box import DemoBox

LOOK_AGAIN_S = 0.02
BACK_TIMEOUT_S = 60.0


class BoxProcesses:
    """The resident processes of one box."""

    def __init__(self, box: DemoBox) -> None:
        self._container = leader(box.state)
        self._sockets = Path(f"/proc/{self._container}/root/run/praxissafe")

    def pid(self, process: str) -> int:
        """Give the process's pid, 0 if it does not run now."""
        unit = "demo-portal.service" if process == "portal" else f"praxis-{process}.service"
        pids = unit_pids(self._container, unit)
        return pids[0] if pids else 0

    def pids(self) -> dict[str, int]:
        """Give the pids of all."""
        return {process: self.pid(process) for process in PROCESSES}

    async def all_run(self) -> dict[str, int]:
        """Wait until every process answers, and give their pids. TimeoutError."""
        for process in PROCESSES:
            await self.is_back(process, 0)
        return self.pids()

    def kill(self, process: str) -> None:
        """End it as a bug, the kernel or the power may: at once, without a word."""
        os.kill(self.pid(process), signal.SIGKILL)

    async def renewed(self) -> CertificateState:
        """Have the page's certificate renewed, wait until that is over, and give how it went. PraxisError."""
        peer = Peer(CERTIFICATE, self._sockets / "certificate.sock")
        await peer.ask(Renew())
        while True:
            state = await peer.ask(ReadState())
            if state.step == "none":
                return state
            await asyncio.sleep(LOOK_AGAIN_S)

    async def is_back(self, process: str, old_pid: int) -> None:
        """Wait until another process stands in its place and answers. TimeoutError."""
        async with asyncio.timeout(BACK_TIMEOUT_S):
            while self.pid(process) in (0, old_pid):
                await asyncio.sleep(LOOK_AGAIN_S)
            while process != "portal":  # whose answer is the patient's page
                try:
                    await Peer(PROCESS, self._sockets / f"{process}.sock").ask(ReadMetrics())
                except Unavailable:
                    await asyncio.sleep(LOOK_AGAIN_S)
                else:
                    return
