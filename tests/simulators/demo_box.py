"""A whole box for tests: the demo, exactly as `make run` starts it, on free ports, with an own state folder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.demo.places import PORTS

ROOT = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 120


@dataclass(frozen=True)
class DemoBox:
    """What the demo says once it is ready, and the folders it uses."""

    state: Path
    practice_url: str
    claim_code: str
    practice_ca: Path
    patient_link: str
    pin: str
    portal_address: str
    portal_ca: Path
    pids: dict[str, int]
    process: subprocess.Popen[str]
    said: dict[str, Any]

    @property
    def port_base(self) -> int:
        """The first of the demo's ports."""
        return int(self.portal_address.rsplit(":", 1)[1]) - 1

    def pid(self, process: str) -> int:
        """The process's pid now, as seen from here: a restart changes it."""
        from appliance.demo.processes import host_pids

        return host_pids(self.state)[process]


@contextmanager
def held_ports() -> Iterator[int]:
    """Hold the demo's ports and give the first: nobody else who asks here gets them meanwhile.

    A port that is free is taken by the box only seconds later, so two that looked at the same moment would share it.
    What holds them is an abstract name (unix(7)), which ends with its holder. Below the ports of outgoing connections.
    """
    for base in range(20000 + os.getpid() % 2000 * PORTS, 32768 - PORTS, PORTS):
        with socket.socket(socket.AF_UNIX) as holder:
            try:
                holder.bind(f"\0praxissafe ports {base}")
                for port in range(base, base + PORTS):
                    with socket.socket() as probe:
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            yield base
            return
    raise RuntimeError("no free ports")


@contextmanager
def running_box(
    *, empty: bool = False, state: Path | None = None, tree: Path = ROOT, port_base: int = 0
) -> Iterator[DemoBox]:
    """Start the demo of `tree`, wait until it is ready, and end it; its state goes unless `state` was given.

    A box keeps the ports it was provisioned with: give a second start on the same state the first one's `port_base`.
    """
    with tempfile.TemporaryDirectory(prefix="praxissafe-box-") as folder, held_ports() as free:
        chosen = state or Path(folder)
        command = [
            sys.executable,
            "-m",
            "appliance.demo",
            "--state",
            str(chosen),
            "--port-base",
            str(port_base or free),
        ]
        process = subprocess.Popen(
            [*command, "--json", *(["--empty"] if empty else [])], cwd=tree, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"the demo ended with {process.wait()} before it was ready"
            said = json.loads(line)
            yield DemoBox(
                state=chosen,
                practice_url=said["practice_url"],
                claim_code=said["claim_code"],
                practice_ca=Path(said["practice_ca"]),
                patient_link=said.get("patient_link") or "",
                pin=said.get("pin") or "",
                portal_address=said["portal_address"],
                portal_ca=Path(said["portal_ca"]),
                pids=said["pids"],
                process=process,
                said=said,
            )
        finally:
            process.terminate()
            process.wait(60)
