"""The portal as a whole: its parts put together, its listener, its one timer.

`open_portal` is the running portal as a block: inside it, connections are served; on leaving, everything is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aiohttp import web

from appliance.core.spare_memory import give_back_spare_memory
from provisioning.portal.authority import Authority, FrontCertificate, PortalContext
from provisioning.portal.boxes import Boxes
from provisioning.portal.control import Control
from provisioning.portal.counts import Counts
from provisioning.portal.door import Door
from provisioning.portal.inside import Inside
from provisioning.portal.known_boxes import Register
from provisioning.portal.metrics import serve_metrics
from provisioning.portal.own_connections import OwnConnections
from provisioning.portal.patients import Patients
from provisioning.portal.registers import follow_file, keep_leases, open_register, station_side
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
    patients: Patients
    control: Control
    door: Door
    settings: PortalSettings
    front_port: int = 0

    @property
    def ports(self) -> str:
        """Where it listens, for the ready line."""
        return f"port={self.port}" + (f" front_port={self.front_port}" if self.front_port else "")

    async def drain(self) -> None:
        """Accept no more, send the boxes elsewhere one after another, and wait until the last relay is over.

        Boxes leave no faster than another portal lets them in (`max_logins_per_s`). Gives up after `drain_limit_s`.
        """
        self.control.draining = True
        self.counts.draining_now = 1
        self.door.stop_accepting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_limit_s):
                for login in self.boxes.all():
                    login.leave()
                    await asyncio.sleep(1 / self.settings.max_logins_per_s)
                await self.patients.gone()


class _Certificates:
    """The context in use, replaced when the leaf nears its end (connections keep theirs); the front's certificate."""

    def __init__(self, authority: Authority, front_path: str) -> None:
        self._front = FrontCertificate(Path(front_path)) if front_path else None
        self._authority = authority
        self._context = authority.context(_now())

    def context(self) -> PortalContext:
        return self._context

    def shown(self, transport: asyncio.Transport) -> bytes | None:
        """Give the SHA-256 of the certificate that a connection was shown; None when nobody knows."""
        context = transport.get_extra_info("sslcontext")
        if context is not None:
            return cast(PortalContext, context).certificate_sha256
        return self._front.sha256() if self._front else None

    def renew(self) -> None:
        """Take the leaf anew: made here when it is time, or brought to a relay since."""
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
    certificates = _Certificates(authority, settings.front_certificate)
    boxes = Boxes(settings, counts)
    own = OwnConnections(2 * settings.handshake_timeout_s)
    control = Control(settings, registry, boxes, own, counts)
    stations = station_side(settings, registry, boxes, counts)
    application = make_application(control, settings.relays, stations, certificates.shown)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    server = runner.server
    if server is None:
        raise RuntimeError  # setup makes it

    def serve_own(left: Callable[[], None]) -> Inside:
        return Inside(boxes, own, counts, server, left)

    patients = Patients(settings, registry, boxes, counts)
    door = Door(settings, boxes, patients, own, counts, serve_own, certificates.context)
    listener = _listen(settings.listen_address, settings.listen_port)
    try:
        port = listener.getsockname()[1]
        front = (
            _listen(settings.front_listen_address, settings.front_listen_port)
            if settings.front_listen_port is not None
            else None
        )
        front_port = front.getsockname()[1] if front else 0
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(door.serve(listener, front)),
                group.create_task(_tidy(boxes, patients, own, counts)),
                group.create_task(_say_counts(counts)),
                group.create_task(give_back_spare_memory()),
                group.create_task(serve_metrics(settings.metrics_listen, counts)),
                group.create_task(_renew(certificates)),
                group.create_task(follow_file(registry, boxes, counts)),
                group.create_task(keep_leases(settings, boxes, counts)),
            ]
            try:
                yield Portal(
                    port,
                    authority.authority_path,
                    counts,
                    boxes,
                    own,
                    registry,
                    patients,
                    control,
                    door,
                    settings,
                    front_port,
                )
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        listener.close()
        patients.close()
        boxes.close()
        await runner.cleanup()


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _listen(address: str, port: int) -> socket.socket:
    """Listen beside an earlier process that drains (SO_REUSEPORT, socket(7): of the same user)."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=BACKLOG, reuse_port=True)
    listener.setblocking(False)
    return listener


async def _tidy(boxes: Boxes, patients: Patients, own: OwnConnections, counts: Counts) -> None:
    while True:
        await asyncio.sleep(TIDY_INTERVAL_S)
        now = asyncio.get_running_loop().time()
        boxes.tidy(now)
        patients.tidy(now)
        counts.timeouts += own.tidy(now)


async def _say_counts(counts: Counts) -> None:
    while True:
        await asyncio.sleep(COUNTS_INTERVAL_S)
        counts.say()


async def _renew(certificates: _Certificates) -> None:
    while True:
        await asyncio.sleep(RENEWAL_CHECK_INTERVAL_S)
        certificates.renew()
