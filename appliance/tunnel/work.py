"""Work connections: open one when ordered, wait for a patient, hand the descriptor to gateway.

Each waits for its first byte without taking it, so that gateway gets the whole. Only the portal uses a spare up or
renews it, so the two sides never disagree about one in use; a spare outlives a lost control connection until the
portal or `spare_limit_s` ends it. A wrapped one is ended here, and gateway gets one end of a socket pair.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Literal

from appliance.contracts.gateway import TakeConnection
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.formats.tunnel_control import TOKEN_LIFETIME_S
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.slots import Slots
from appliance.tunnel.status import Status, connections
from appliance.tunnel.tcp import READ_BYTES, WorkDialler, Wrapped, let_patient_stall

#: A connection that ends sooner was ended by something on the way, or by a portal that did not know its token.
EARLY_S = 2.0
LAST_BYTES_S = 10.0

Outcome = Literal["early", "other"]


class WorkConnections:
    """Opens what is ordered; `group` runs each connection and outlives the control session."""

    def __init__(
        self, group: asyncio.TaskGroup, gateway: Peer, settings: TunnelSettings, status: Status, slots: Slots
    ) -> None:
        self._group = group
        self._gateway = gateway
        self._settings = settings
        self._status = status
        self.slots = slots

    def open(
        self, dialler: WorkDialler, mode: Literal["raw", "wrapped"], token: bytes, ended: Callable[[Outcome], None]
    ) -> None:
        """Follow one order; over the limit it is not followed and the token lapses. `ended` hears how it began."""
        if not self.slots.take():
            connections.add("over_limit")
            return
        serve = self._serve_raw if mode == "raw" else self._serve_wrapped
        self._group.create_task(self._serve(serve(dialler, token), ended)).add_done_callback(self.slots.give_back)

    async def hand_over(self, sock: socket.socket) -> None:
        """Give gateway a copy of a descriptor; raises what it answers, PeerGone."""
        await ask_patiently(
            self._gateway, TakeConnection(), patience_s=self._settings.peer_patience_s, descriptor=sock.fileno()
        )

    async def _serve(self, serving: Awaitable[bool], ended: Callable[[Outcome], None]) -> None:
        """Run one connection; PeerGone is the only failure that leaves."""
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        outcome = "failed"
        try:
            outcome = "passed" if await serving else "unused"
        except PeerGone:
            raise
        except PraxisError as error:
            outcome = "gateway_full" if isinstance(error, Unavailable) and error.code == "full" else "failed"
        except OSError:
            outcome = "failed"
        connections.add(outcome)
        is_early = outcome == "failed" or (outcome == "unused" and loop.time() - began_at < EARLY_S)
        ended("early" if is_early else "other")

    async def _serve_raw(self, dialler: WorkDialler, token: bytes) -> bool:
        """False when nobody came."""
        with contextlib.closing(await dialler.raw(token, TOKEN_LIFETIME_S)) as sock:
            if not await self._wait(_first_byte(sock)):
                return False
            let_patient_stall(sock, self._settings.stall_timeout_s)
            await self.hand_over(sock)
        return True

    async def _serve_wrapped(self, dialler: WorkDialler, token: bytes) -> bool:
        reader, writer = await dialler.wrapped(token, TOKEN_LIFETIME_S)
        try:
            first = await self._wait(reader.read(READ_BYTES))
            if not first:
                return False
            sock = writer.get_extra_info("socket")
            let_patient_stall(sock, self._settings.stall_timeout_s)
            ours, gateways = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            with contextlib.closing(ours):
                with contextlib.closing(gateways):
                    await self.hand_over(gateways)
                await pump((reader, writer), ours, first)
            return True
        finally:
            writer.transport.abort()

    async def _wait(self, first: Awaitable[bytes]) -> bytes:
        """Wait for the first bytes; none when the portal ended the connection or nobody came."""
        self._status.count_spare(1)
        try:
            async with asyncio.timeout(self._settings.spare_limit_s):
                return await first
        except TimeoutError:
            return b""
        finally:
            self._status.count_spare(-1)


async def pump(wrapped: Wrapped, ours: socket.socket, first: bytes) -> None:
    """Pass bytes between a TLS connection and a socket pair until either side ends; bounded by both buffers."""
    reader, writer = wrapped
    loop = asyncio.get_running_loop()

    async def inwards() -> None:
        data = first
        while data:
            await loop.sock_sendall(ours, data)
            data = await reader.read(READ_BYTES)
        ours.shutdown(socket.SHUT_WR)

    async def outwards() -> None:
        while data := await loop.sock_recv(ours, READ_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()
        async with asyncio.timeout(LAST_BYTES_S):
            await writer.wait_closed()

    passing = [asyncio.ensure_future(inwards()), asyncio.ensure_future(outwards())]
    try:
        # TLS knows no half-closed connection here: what gateway still says after the portal's end goes nowhere.
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        if passing[0].done() and not passing[1].done():
            await asyncio.wait(passing[1:], timeout=LAST_BYTES_S)
    finally:
        for one in passing:
            one.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _first_byte(sock: socket.socket) -> bytes:
    """Wait for the first byte and leave it there; b"" at the end."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bytes] = loop.create_future()

    def look() -> None:
        try:
            first = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if not ready.done():
            ready.set_result(first)

    loop.add_reader(sock, look)
    try:
        return await ready
    finally:
        loop.remove_reader(sock)
