"""The portal as a whole: its parts put together, its listener, its one timer.

`open_portal` is the running portal as a block: inside it, connections are served; on leaving, everything is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from provisioning.portal.authority import Authority, PortalContext
from provisioning.portal.boxes import Boxes
from provisioning.portal.control import Control
from provisioning.portal.counts import Counts
from provisioning.portal.door import Door
from provisioning.portal.known_boxes import Register
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.registers import follow_file, open_register, station_side
from provisioning.portal.routes import make_application
from provisioning.portal.settings import PortalSettings

BACKLOG = 1024
TIDY_INTERVAL_S = 1.0
COUNTS_INTERVAL_S = 60.0
RENEWAL_CHECK_INTERVAL_S = 86_400.0
SHUTDOWN_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Portal:
    """A running portal: where it listens, what boxes pin, its counts and logins."""

    port: int
    authority_path: Path
    counts: Counts
    boxes: Boxes
    own: OwnConnections
    registry: Register


class _Certificates:
    """The context in use; replaced when the leaf nears its end. Connections keep theirs."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._context = authority.context(_now())

    def context(self) -> PortalContext:
        return self._context

    def renew(self) -> None:
        if self._authority.needs_renewal(_now()):
            self._context = self._authority.context(_now())


@asynccontextmanager
async def open_portal(settings: PortalSettings) -> AsyncIterator[Portal]:
    """Listen and serve until the block ends; the first failure in it ends the block."""
    for name in ("aiohttp", "asyncio"):  # both would write addresses of patients into their messages
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    state = Path(settings.state_folder)
    counts = Counts()
    registry = open_register(settings)
    authority = Authority(state, settings.portal_name, _now())
    certificates = _Certificates(authority)
    boxes = Boxes(settings, counts)
    own = OwnConnections(2 * settings.handshake_timeout_s)
    control = Control(settings, registry, boxes, own, counts)
    application = make_application(control, settings.relays, station_side(settings, registry, boxes, counts))
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError  # setup makes it
    door = Door(settings, registry, boxes, own, counts, server, certificates.context)
    try:
        with contextlib.closing(_listen(settings)) as listener:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(door.serve(listener)),
                    group.create_task(_tidy(boxes, door)),
                    group.create_task(_say_counts(counts)),
                    group.create_task(_renew(certificates)),
                    group.create_task(follow_file(registry, boxes, counts)),
                ]
                port = listener.getsockname()[1]
                try:
                    yield Portal(port, authority.authority_path, counts, boxes, own, registry)
                finally:
                    for task in tasks:
                        task.cancel()
    finally:
        boxes.close()
        await runner.cleanup()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _listen(settings: PortalSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen_address else socket.AF_INET
    listener = socket.create_server((settings.listen_address, settings.listen_port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    return listener


async def _tidy(boxes: Boxes, door: Door) -> None:
    while True:
        await asyncio.sleep(TIDY_INTERVAL_S)
        now = asyncio.get_running_loop().time()
        boxes.tidy(now)
        door.tidy(now)


async def _say_counts(counts: Counts) -> None:
    while True:
        await asyncio.sleep(COUNTS_INTERVAL_S)
        counts.say()


async def _renew(certificates: _Certificates) -> None:
    while True:
        await asyncio.sleep(RENEWAL_CHECK_INTERVAL_S)
        certificates.renew()
