"""Work connections: open one when ordered, wait for a patient, hand the descriptor to gateway.

Each waits for its first byte without taking it (MSG_PEEK), so the patient's TLS is whole when gateway gets it. Only
the portal uses a spare up or renews it, so the two sides never disagree about one in use; a spare outlives a lost
control connection until the portal or `spare_limit_s` ends it. At most `max_connections` wait at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from appliance.contracts.gateway import TakeConnection
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.formats.tunnel_control import TOKEN_LIFETIME_S
from appliance.tunnel.dial import Address, dial_work, let_patient_stall
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import Status, connections


class WorkConnections:
    """Opens what is ordered; `group` runs each connection and outlives the control session."""

    def __init__(self, group: asyncio.TaskGroup, gateway: Peer, settings: TunnelSettings, status: Status) -> None:
        self._group = group
        self._gateway = gateway
        self._settings = settings
        self._status = status
        self._held = 0

    def open(self, address: Address, token: bytes) -> None:
        """Follow one order; over the limit it is not followed and the token lapses."""
        if self._held >= self._settings.max_connections:
            connections.add("over_limit")
            return
        self._held += 1
        self._group.create_task(self._serve(address, token)).add_done_callback(self._release)

    def _release(self, _: object) -> None:
        self._held -= 1

    async def _serve(self, address: Address, token: bytes) -> None:
        """Run one connection; PeerGone is the only failure that leaves."""
        try:
            with contextlib.closing(await dial_work(address, token, TOKEN_LIFETIME_S)) as sock:
                if not await self._wait_for_patient(sock):
                    connections.add("unused")
                    return
                let_patient_stall(sock, self._settings.stall_timeout_s)
                await ask_patiently(
                    self._gateway,
                    TakeConnection(),
                    patience_s=self._settings.peer_patience_s,
                    descriptor=sock.fileno(),
                )
                connections.add("passed")
        except PeerGone:
            raise
        except Unavailable as error:
            connections.add("gateway_full" if error.code == "full" else "failed")
        except (PraxisError, OSError):
            connections.add("failed")

    async def _wait_for_patient(self, sock: socket.socket) -> bool:
        """Wait for the first byte; False when the portal ended the connection or nobody came."""
        self._status.count_spare(1)
        try:
            async with asyncio.timeout(self._settings.spare_limit_s):
                return await _first_byte(sock)
        except TimeoutError:
            return False
        finally:
            self._status.count_spare(-1)


async def _first_byte(sock: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def look() -> None:
        try:
            first = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if not ready.done():
            ready.set_result(bool(first))

    loop.add_reader(sock, look)
    try:
        return await ready
    finally:
        loop.remove_reader(sock)
