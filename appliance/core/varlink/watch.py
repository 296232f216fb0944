"""Patience with a peer: a restarted one is simply redialled, and one that is gone for good is noticed.

A socket file that was replaced while this process sees the old one never comes back (docs/processes.md). Who finds
`Unavailable("peer_away")` after its patience ends; systemd starts it again with the sockets that are there now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, cast

from appliance.core.errors import Unavailable
from appliance.core.varlink.call import Call, ReplyType
from appliance.core.varlink.client import CALL_TIMEOUT_S, Peer, Upload

RETRY_PAUSE_S = 0.25


class PeerGone(Unavailable):
    """A peer cannot be redialled; the process ends."""


async def ask_patiently(
    peer: Peer | WatchedPeer, call: Call[ReplyType], *, patience_s: float, descriptor: int | None = None
) -> ReplyType:
    """Make a call, dialling again for up to `patience_s`; raises PeerGone("peer_away") then, and what it answers."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + patience_s
    while True:
        try:
            return await peer.ask(call, descriptor=descriptor)
        except Unavailable as error:
            if error.code != "peer_away":
                raise
            if loop.time() >= give_up_at:
                raise PeerGone("peer_away") from error
        await asyncio.sleep(RETRY_PAUSE_S)


class WatchedPeer:
    """A peer this process cannot work without: asked as a Peer is, while `watch` runs beside."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._away = asyncio.Event()

    async def ask(
        self, call: Call[ReplyType], *, descriptor: int | None = None, timeout_s: float = CALL_TIMEOUT_S
    ) -> ReplyType:
        """Ask (see Peer.ask)."""
        with self._noting():
            return await self._peer.ask(call, descriptor=descriptor, timeout_s=timeout_s)

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

    async def watch(self, patience_s: float) -> None:
        """Run until the peer could not be dialled for `patience_s`; raises PeerGone("peer_away") then."""
        loop = asyncio.get_running_loop()
        while True:
            await self._away.wait()
            give_up_at = loop.time() + patience_s
            while not await self._peer.can_be_dialled():
                if loop.time() >= give_up_at:
                    raise PeerGone("peer_away")
                await asyncio.sleep(RETRY_PAUSE_S)
            self._away.clear()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            if error.code == "peer_away":
                self._away.set()
            raise
