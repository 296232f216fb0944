"""A service: a coroutine that runs until it is cancelled, with what systemd passed in.

Keeps: ready is reported after the last resource is open (sd_notify(3)); the watchdog is fed from the event loop, so
a stuck loop is restarted; SIGTERM cancels; a failure nobody foresaw ends the process, with its place in the
source and no text of its message (which might hold a person's data).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from systemd import daemon

from appliance.core.errors import PraxisError
from appliance.core.journal import say

Main = Callable[[Mapping[str, socket.socket]], Awaitable[None]]


def passed_sockets() -> dict[str, socket.socket]:
    """Give the sockets systemd passed in, by FileDescriptorName= (sd_listen_fds_with_names(3))."""
    return {name: socket.socket(fileno=fd) for fd, name in daemon.listen_fds_with_names().items()}


def report_ready() -> None:
    """Tell systemd that the last resource is open."""
    daemon.notify("READY=1")


def run(main: Main, *, fast_loop: bool = False) -> None:
    """Run `main(passed sockets)` until SIGTERM; exits the interpreter with 1 on failure.

    `fast_loop` chooses uvloop: for the processes that carry patients' or staff's connections.
    """
    sockets = passed_sockets()
    factory = None
    if fast_loop:
        import uvloop  # 6 MB of memory; only where connections are carried

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_until_terminated(main, sockets))
    except BaseException as error:
        for failure in _leaves(error):
            if isinstance(failure, PraxisError):
                say("ended", priority="error", family=failure.family.lower(), code=failure.code)
            elif not isinstance(failure, KeyboardInterrupt):
                _say_bug(failure)
        sys.exit(1)
    finally:
        for sock in sockets.values():
            sock.close()


async def fails_with(failure: asyncio.Future[None]) -> None:
    """Wait for a failure and raise it: a task for a process whose callbacks may meet a bug."""
    await failure


async def _until_terminated(main: Main, sockets: Mapping[str, socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(main(sockets))
    loop.add_signal_handler(signal.SIGTERM, work.cancel)
    watchdog = asyncio.ensure_future(_feed_watchdog())
    try:
        await work
    except asyncio.CancelledError:
        daemon.notify("STOPPING=1")
    finally:
        watchdog.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watchdog


async def _feed_watchdog() -> None:
    """Feed systemd's watchdog twice per period (sd_watchdog_enabled(3)); without one, return at once."""
    period_us = int(os.environ.get("WATCHDOG_USEC", "0"))
    while period_us:
        daemon.notify("WATCHDOG=1")
        await asyncio.sleep(period_us / 2e6)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _code(text: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()
    return re.sub(r"[^a-z0-9_]", "_", snake)[:48].lstrip("_0123456789") or "unknown"


def _say_bug(error: BaseException) -> None:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = _code(Path(place.tb_frame.f_code.co_filename).stem) if place else "unknown"
    say(
        "bug",
        priority="error",
        kind=_code(type(error).__name__),
        module=where,
        line=place.tb_lineno if place else 0,
    )
