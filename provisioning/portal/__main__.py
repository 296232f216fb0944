"""`python -m provisioning.portal SETTINGS.toml`: run a portal until SIGTERM or SIGINT.

The first such signal drains it: it accepts no more, sends its boxes elsewhere, and ends with its last relay. The
second ends it at once. A new process may listen on the same port before.

Exit status 2 for wrong settings, 1 when a bug ended it (its type and place on standard error, never its message).
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

from appliance.core.errors import PraxisError
from provisioning.portal.portal import open_portal
from provisioning.portal.settings import PortalSettings, read_portal_settings

WRONG_SETTINGS = {
    "settings": "The settings file is missing, malformed or has a key this portal does not know.",
    "tpm_makers": "The file that `tpm_makers` names is missing or has no maker's own certificate (PEM) in it.",
}


async def run(settings: PortalSettings) -> None:
    """Serve until told to stop."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    asked = asyncio.Event()
    bugs: list[BaseException] = []

    def take_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failure = context.get("exception")
        if isinstance(failure, Exception) and not isinstance(failure, OSError):  # OSError: a peer broke off
            bugs.append(failure)
            stopped.set()

    def take_signal() -> None:
        (stopped if asked.is_set() else asked).set()

    loop.set_exception_handler(take_failure)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, take_signal)
    async with open_portal(settings) as portal:
        if portal.registry.unusable:
            print(f"portal unusable_records={portal.registry.unusable}", file=sys.stderr, flush=True)
        print(f"portal ready {portal.ports}", file=sys.stderr, flush=True)
        await first_of(asked.wait(), stopped.wait())
        print("portal draining", file=sys.stderr, flush=True)
        await first_of(portal.drain(), stopped.wait())
        portal.counts.say()
    print("portal ended", file=sys.stderr, flush=True)
    if bugs:
        raise bugs[0]


async def first_of(*awaited: Coroutine[object, object, object]) -> None:
    """Wait until one has ended and cancel the others; a failure is raised."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    for task in done:
        task.result()


def main(arguments: list[str]) -> int:
    """Read the settings and run."""
    if len(arguments) != 1:
        print("usage: python -m provisioning.portal SETTINGS.toml", file=sys.stderr)
        return 2
    try:
        settings = read_portal_settings(Path(arguments[0]))
    except PraxisError as error:
        print(WRONG_SETTINGS.get(error.code, WRONG_SETTINGS["settings"]), file=sys.stderr)
        return 2
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except Exception as error:  # the last resort: say where, not what
        for place in traceback.extract_tb(error.__traceback__)[-3:]:
            print(f"portal {type(error).__name__} at {place.name}:{place.lineno}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
