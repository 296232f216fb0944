"""Keep the box connected: find out which relays there are, and keep one connection to each that is this box's.

The list is read at the start, again after a lost connection, and daily. A portal without relays has one connection.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
import time
from collections.abc import Awaitable

from appliance.contracts.vault import Describe
from appliance.core.errors import PraxisError, Refused
from appliance.core.journal import say
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.tunnel.backoff import Backoff
from appliance.tunnel.dial import Dialling
from appliance.tunnel.keeper import Keeper
from appliance.tunnel.portal_address import PortalAddress
from appliance.tunnel.relays import read_relays
from appliance.tunnel.route import Proxy, Route
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.slots import Slots
from appliance.tunnel.status import Status
from appliance.tunnel.tcp import socket_maker
from appliance.tunnel.work import WorkConnections


class Keepers:
    """One keeper for each relay; `run` until cancelled or PeerGone."""

    def __init__(self, vault: Peer, gateway: Peer, settings: TunnelSettings, route: Route, status: Status) -> None:
        self._vault = vault
        self._gateway = gateway
        self._settings = settings
        self._route = route
        self._status = status
        self._keepers: dict[PortalAddress, asyncio.Task[None]] = {}
        self._lost = asyncio.Event()
        self._anew = asyncio.Event()

    async def run(self) -> None:
        """Keep the box connected."""
        backoff = Backoff(self._settings.backoff_first_s, self._settings.backoff_cap_s)
        async with asyncio.TaskGroup() as group:
            slots = Slots(self._settings.max_connections)
            work = WorkConnections(group, self._gateway, self._settings, self._status, slots)
            while True:
                self._lost.clear()
                self._anew.clear()
                try:
                    context, wanted = await self._look_up(self._route.proxy)
                    backoff.succeeded()
                    self._status.cannot_look_up("", refused=False, now=int(time.time()))
                    await self._want(group, context, wanted, work)
                    await self._until_due()
                except PeerGone:
                    raise
                except PraxisError as error:
                    await self._wait_after(error, backoff)

    async def try_proxy(self, proxy: Proxy) -> None:
        """Dial the portal through a proxy; raises why that does not work."""
        await self._look_up(proxy)

    async def connect_anew(self) -> None:
        """Leave every connection and begin from the top: the way out of this network was changed."""
        await self._stop(list(self._keepers))
        self._anew.set()

    async def _look_up(self, proxy: Proxy | None) -> tuple[ssl.SSLContext, list[PortalAddress]]:
        described = await ask_patiently(self._vault, Describe(), patience_s=self._settings.peer_patience_s)
        portal = PortalAddress.of(described)
        context = portal.context()
        dialling = Dialling(self._settings.dial_timeout_s, socket_maker(self._settings.dead_after_s), proxy)
        return context, await read_relays(portal, bytes.fromhex(described.box), dialling, context)

    async def _want(
        self, group: asyncio.TaskGroup, context: ssl.SSLContext, wanted: list[PortalAddress], work: WorkConnections
    ) -> None:
        await self._stop([portal for portal in self._keepers if portal not in wanted])
        self._status.want([portal.address for portal in wanted], int(time.time()))
        for portal in wanted:
            if portal not in self._keepers:
                keeper = Keeper(
                    portal,
                    context,
                    self._vault,
                    self._settings,
                    route=self._route,
                    status=self._status,
                    work=work,
                    lost=self._lost.set,
                )
                self._keepers[portal] = group.create_task(keeper.run())

    async def _stop(self, portals: list[PortalAddress]) -> None:
        stopped = [self._keepers.pop(portal) for portal in portals]
        for task in stopped:
            task.cancel()
        if stopped:
            await asyncio.wait(stopped)

    async def _until_due(self) -> None:
        """Wait for the moment to read the list again: a connection was lost, the way was changed, a day passed."""
        settings = self._settings
        if await _within(self._either(self._lost), settings.relays_daily_s) and not self._anew.is_set():
            # Many boxes lose a relay together, and must not ask together.
            pause_s = settings.relays_pause_s * (0.5 + secrets.randbelow(1024) / 1024)
            await _within(self._anew.wait(), pause_s)

    async def _wait_after(self, error: PraxisError, backoff: Backoff) -> None:
        """The list cannot be read: keep what is kept, say why, try again later."""
        refused = isinstance(error, Refused)
        self._status.cannot_look_up(error.code, refused=refused, now=int(time.time()))
        say("relays_unknown", priority="notice", family=error.family.lower(), code=error.code)
        wait_s = backoff.next_s(secrets.randbelow(1 << 32) / (1 << 32), float(error.details.get("wait_s", 0)))
        await _within(self._anew.wait(), wait_s)

    async def _either(self, event: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(one.wait()) for one in (event, self._anew)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()


async def _within(waiting: Awaitable[object], seconds: float) -> bool:
    """Wait at most so long; False when the time ran out."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True
