"""`python -m provisioning.portal SETTINGS.toml`: run a portal until SIGTERM or SIGINT.

Exit status 2 for wrong settings, 1 when a bug ended it (its type and place on standard error, never its message).
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
import traceback
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
    bugs: list[BaseException] = []

    def take_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failure = context.get("exception")
        if isinstance(failure, Exception) and not isinstance(failure, OSError):  # OSError: a peer broke off
            bugs.append(failure)
            stopped.set()

    loop.set_exception_handler(take_failure)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with open_portal(settings) as portal:
        if portal.registry.unusable:
            print(f"portal unusable_records={portal.registry.unusable}", file=sys.stderr, flush=True)
        print(f"portal ready port={portal.port}", file=sys.stderr, flush=True)
        await stopped.wait()
        portal.counts.say()
    if bugs:
        raise bugs[0]


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
