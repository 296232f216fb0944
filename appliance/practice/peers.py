"""The processes practice asks, and the watch over them.

A restarted peer is simply redialled. One whose socket never comes back (its file was replaced while this process
sees the old one) is noticed: `watch` fails, the process ends, and systemd starts it with the new sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from appliance.contracts.process import PROCESS, ReadMetrics
from appliance.contracts.records import RECORDS
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.vault import VAULT, Box, Describe
from appliance.core.errors import PraxisError, Unavailable
from appliance.core.varlink import Call, Peer
from appliance.core.varlink.call import ReplyType
from appliance.core.varlink.client import CALL_TIMEOUT_S, SOCKET_FOLDER, Upload

RETRY_PAUSE_S = 0.25
#: Whose metrics the status page shows, besides our own.
OTHERS = ("vault", "records", "audit", "gateway", "tunnel")


class WatchedPeer:
    """A peer this process cannot work without; `away` is set when it could not be reached."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.away = asyncio.Event()

    async def ask(self, call: Call[ReplyType], *, timeout_s: float = CALL_TIMEOUT_S) -> ReplyType:
        """Ask (see Peer.ask)."""
        with self._noting():
            return await self._peer.ask(call, timeout_s=timeout_s)

    @asynccontextmanager
    async def send(self, call: Call[ReplyType]) -> AsyncIterator[Upload[ReplyType]]:
        """Send bytes (see Peer.send)."""
        with self._noting():
            async with self._peer.send(call) as upload:
                yield upload

    async def receive(self, call: Call[Any]) -> AsyncGenerator[memoryview, None]:
        """Receive bytes (see Peer.receive); to be closed, which hangs up."""
        given = cast(AsyncGenerator[memoryview, None], self._peer.receive(call))
        with self._noting():
            async with aclosing(given) as pieces:
                async for piece in pieces:
                    yield piece

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            if error.code == "peer_away":
                self.away.set()
            raise


class Peers:
    """Everyone practice may ask."""

    def __init__(self, *, folder: Path = SOCKET_FOLDER) -> None:
        self.vault = WatchedPeer(Peer.of(VAULT, "vault", folder))
        self.records = WatchedPeer(Peer.of(RECORDS, "records", folder))
        self.tunnel = Peer.of(TUNNEL, "tunnel", folder)
        self.processes: Mapping[str, Peer] = {name: Peer.of(PROCESS, name, folder) for name in OTHERS}

    async def describe_box(self, patience_s: float) -> Box:
        """Ask vault who this box is, dialling again for up to `patience_s`; the last failure then."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + patience_s
        while True:
            try:
                box: Box = await self.vault.ask(Describe())
            except Unavailable:
                if loop.time() >= give_up_at:
                    raise
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                return box

    async def watch(self, patience_s: float) -> None:
        """Run until vault or records cannot be dialled for `patience_s`; raises Unavailable("peer_away") then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch("vault", self.vault, patience_s))
            group.create_task(self._watch("records", self.records, patience_s))

    async def _watch(self, name: str, peer: WatchedPeer, patience_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await peer.away.wait()
            give_up_at = loop.time() + patience_s
            while await self._is_away(name):
                if loop.time() >= give_up_at:
                    raise Unavailable("peer_away")
                await asyncio.sleep(RETRY_PAUSE_S)
            peer.away.clear()

    async def _is_away(self, name: str) -> bool:
        """Say whether a process cannot be dialled; a slow one is there."""
        try:
            await self.processes[name].ask(ReadMetrics())
        except PraxisError as error:
            return error.code == "peer_away"
        return False
