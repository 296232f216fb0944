"""A station that is killed at a boundary of its steps: before or after it asks box or portal, before or after a file
of its own is renamed into place.

Reads one JSON line a run: {"kill_at": N, "words": [...]} (0: never), forks, lets the child run the real command, and
answers {"status": …, "boundaries": …}; -9 is a child that was killed. The parent has loaded everything, so a run costs
what it does and no imports.
"""

import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import fpdf  # noqa: F401  (before the fork)
import segno  # noqa: F401

from provisioning.station import enrol
from provisioning.station.__main__ import main

passed = 0
kill_at = 0


def boundary() -> None:
    global passed
    passed += 1
    if passed == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)


def bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    async def ask(*arguments: Any) -> Any:
        boundary()
        answer = await function(*arguments)
        boundary()
        return answer

    return ask


def replace(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    boundary()
    moved = really_replace(path, target)
    boundary()
    return moved


really_replace = pathlib.Path.replace
pathlib.Path.replace = replace  # type: ignore[method-assign,assignment]
enrol.ask_identity = bounded(enrol.ask_identity)
enrol.ask_box = bounded(enrol.ask_box)  # type: ignore[assignment]
enrol.register = bounded(enrol.register)

really_time = time.time

for number, line in enumerate(sys.stdin):
    run = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        kill_at = run["kill_at"]
        time.time = lambda: really_time() + 60 * number  # noqa: B023 (a child has one run) every run is a minute later
        silent = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(silent, descriptor)
        status = main(run["words"])
        os.write(writing, str(passed).encode())
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        count = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps({"status": status, "boundaries": int(count or 0)}), flush=True)
