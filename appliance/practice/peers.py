"""The processes practice asks, and the watch over them.

A restarted peer is simply redialled. One whose socket never comes back (its file was replaced while this process
sees the old one) is noticed: `gone` fails, the process ends, and systemd starts it with the new sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, cast

from appliance.contracts.process import PROCESS
from appliance.contracts.records import RECORDS
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.vault import VAULT, Box, Describe
from appliance.core.errors import Unavailable
from appliance.core.varlink import Call, Peer
from appliance.core.varlink.call import ReplyType
from appliance.core.varlink.client import CALL_TIMEOUT_S, SOCKET_FOLDER, Upload

RETRY_PAUSE_S = 0.25
#: Whose metrics the status page shows, besides our own.
OTHERS = ("vault", "records", "audit", "gateway", "tunnel")


class WatchedPeer:
    """A peer this process cannot work without; counts how long it has been away."""

    def __init__(self, peer: Peer, patience_s: float) -> None:
        self._peer = peer
        self._patience_s = patience_s
        self._away_since: float | None = None
        #: Fails with Unavailable("peer_away") when the peer has been away too long.
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(self, call: Call[ReplyType], *, timeout_s: float = CALL_TIMEOUT_S) -> ReplyType:
        """Ask (see Peer.ask)."""
        with self._watch():
            return await self._peer.ask(call, timeout_s=timeout_s)

    @asynccontextmanager
    async def send(self, call: Call[ReplyType]) -> AsyncIterator[Upload[ReplyType]]:
        """Send bytes (see Peer.send)."""
        with self._watch():
            async with self._peer.send(call) as upload:
                yield upload

    async def receive(self, call: Call[Any]) -> AsyncGenerator[memoryview, None]:
        """Receive bytes (see Peer.receive); to be closed, which hangs up."""
        given = cast(AsyncGenerator[memoryview, None], self._peer.receive(call))
        with self._watch():
            async with aclosing(given) as pieces:
                async for piece in pieces:
                    yield piece

    def _watch(self) -> _Watch:
        return _Watch(self)

    def note(self, failure: BaseException | None, now: float) -> None:
        """Take note of how a call went at `now`."""
        if not (isinstance(failure, Unavailable) and failure.code == "peer_away"):
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
        elif now - self._away_since >= self._patience_s and not self.gone.done():
            self.gone.set_exception(Unavailable("peer_away"))


class _Watch:
    def __init__(self, peer: WatchedPeer) -> None:
        self._peer = peer

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: object) -> None:
        self._peer.note(failure, asyncio.get_running_loop().time())


class Peers:
    """Everyone practice may ask."""

    def __init__(self, *, patience_s: float, folder: Path = SOCKET_FOLDER) -> None:
        self.vault = WatchedPeer(Peer.of(VAULT, "vault", folder), patience_s)
        self.records = WatchedPeer(Peer.of(RECORDS, "records", folder), patience_s)
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

    async def watch(self) -> None:
        """Run until vault or records has been away too long; raises Unavailable("peer_away") then."""
        done, _ = await asyncio.wait([self.vault.gone, self.records.gone], return_when=asyncio.FIRST_COMPLETED)
        for gone in done:
            gone.result()
