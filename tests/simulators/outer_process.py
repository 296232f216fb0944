"""Run tunnel or gateway as the box does, `python -m tests.simulators.outer_process NAME FOLDER`, without systemd.

The process is the product's own, wiring included. What systemd and the users' file would give it comes from FOLDER:
settings in `etc`, and in `run/<process>` the sockets of those whom it may call. All run as one user, so each is called
at a socket that only one other knows. What it says to the journal goes to standard error.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from pathlib import Path

from systemd import journal

from appliance.core import service, settings
from appliance.core.varlink import Peer, server

#: Who calls it: process -> caller.
CALLERS = {"tunnel": "root", "gateway": "tunnel"}


def socket_path(folder: Path, process: str) -> Path:
    """Where a process listens: in the folder of the one who calls it."""
    return folder / "run" / CALLERS[process] / f"{process}.sock"


def main(process: str, folder: Path) -> None:
    """Listen where the box's systemd would, then become the process."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(socket_path(folder, process)))
    listener.listen()
    vars(Peer)["of"].__func__.__defaults__ = (folder / "run" / process,)
    settings.read_settings.__defaults__ = (folder / "etc",)
    server.known_callers = lambda: {os.getuid(): CALLERS[process]}
    service.passed_sockets = lambda: {"local": listener}
    journal.send = no_journal
    runpy.run_module(f"appliance.{process}", run_name="__main__")


def no_journal(*_: str, **__: str) -> None:
    raise OSError


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
