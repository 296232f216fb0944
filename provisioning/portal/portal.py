"""The portal as a whole: its parts put together, its listener, its one timer.

`open_portal` is the running portal as a block: inside it, connections are served; on leaving, everything is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from appliance.formats.revocation import Revocation
from provisioning.portal.authority import Authority, PortalContext
from provisioning.portal.boxes import Boxes
from provisioning.portal.control import Control
from provisioning.portal.counts import Counts
from provisioning.portal.door import Door
from provisioning.portal.inside import Inside
from provisioning.portal.makers import Makers
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.registration import Registration
from provisioning.portal.registry import Registry
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
    registry: Registry


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
    registry = Registry(state / "registry", settings.portal_name, settings.stations)
    authority = Authority(state, settings.portal_name, _now())
    certificates = _Certificates(authority)
    boxes = Boxes(settings, counts)
    own = OwnConnections(2 * settings.handshake_timeout_s)
    registration = Registration(
        registry, Makers.read(Path(settings.tpm_makers)), settings.portal_name, settings.images, counts, time.time
    )

    def revoke(revocation: Revocation) -> None:
        login = boxes.get(registry.revoke(revocation))
        counts.devices_revoked += 1
        if login is not None:
            boxes.logout(login)

    control = Control(settings, registry, boxes, own, counts)
    application = make_application(registration, control, revoke)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError  # setup makes it

    def serve_own() -> Inside:
        return Inside(boxes, own, counts, server)

    door = Door(settings, registry, boxes, own, counts, serve_own, certificates.context)
    try:
        with contextlib.closing(_listen(settings)) as listener:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(door.serve(listener)),
                    group.create_task(_tidy(boxes, door)),
                    group.create_task(_say_counts(counts)),
                    group.create_task(_renew(certificates)),
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
