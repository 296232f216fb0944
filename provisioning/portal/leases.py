"""Which relay has which boxes, said in Redis (or Valkey): a help for the front, never needed.

Each relay keeps one set, `praxissafe:boxes:<relay>`, of the boxes that are logged in there. The set is its lease: it
ends LEASE_S after the relay last renewed it, so a relay that died takes its boxes out by dying. A front that finds
nothing here, or no Redis at all, sends a box's patients where rendezvous hashing says (front.py).

Rules it keeps: ids of boxes only, nothing of patients; a Redis that is lost, slow or forgetful stops nobody: it is
counted, and what is missing in it is written again. The one door of `redis`, whose own time limits are off: they are
asyncio.wait_for, which before Python 3.12 can lose a cancellation (CPython issue 86296).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Set
from typing import TypeVar

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

PREFIX = "praxissafe:boxes:"
LEASE_S = 10
INTERVAL_S = 1.0
TIMEOUT_S = 2.0
BOX_BYTES = 16
BATCH = 1000

Answer = TypeVar("Answer")


class Leases:
    """One relay's boxes in Redis, or a front's view of all relays."""

    def __init__(self, url: str) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url, socket_timeout=None, socket_connect_timeout=None, retry=Retry(NoBackoff(), 0)
        )
        #: How many times Redis could not be reached, since the start.
        self.failures = 0

    async def keep(self, relay: str, boxes: Callable[[], Set[bytes]]) -> None:
        """Have Redis say which boxes are here, until cancelled."""
        said: Set[bytes] | None = None  # None: Redis may hold anything
        while True:
            held = frozenset(boxes())
            try:
                said = held if await _in_time(self._say(relay, held, said)) else None
            except (RedisError, OSError, TimeoutError):
                self.failures += 1
                said = None
            await asyncio.sleep(INTERVAL_S)

    async def give_up(self, relay: str) -> None:
        """Take a relay's boxes out at once; a Redis that is away is left alone."""
        try:
            await _in_time(self._redis.delete(PREFIX + relay))
        except (RedisError, OSError, TimeoutError):
            self.failures += 1

    async def held_by(self, relays: Iterable[str]) -> Mapping[str, frozenset[bytes]] | None:
        """Give the boxes of each relay; None if Redis cannot be reached."""
        try:
            return {relay: await _in_time(self._boxes_of(relay)) for relay in relays}
        except (RedisError, OSError, TimeoutError):
            self.failures += 1
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _say(self, relay: str, held: Set[bytes], said: Set[bytes] | None) -> bool:
        """Write what changed and renew; False when the set was gone and has to be written whole."""
        name = PREFIX + relay
        changes = self._redis.pipeline(transaction=True)
        if said is None:
            changes.delete(name)
        else:
            changes.expire(name, LEASE_S)
        for batch in _batches(held - (said or frozenset())):
            changes.sadd(name, *batch)
        for batch in _batches((said or frozenset()) - held):
            changes.srem(name, *batch)
        changes.expire(name, LEASE_S)
        was_there = (await changes.execute())[0]
        return bool(was_there) or not said

    async def _boxes_of(self, relay: str) -> frozenset[bytes]:
        members = await self._redis.smembers(PREFIX + relay)
        return frozenset(member for member in members if isinstance(member, bytes) and len(member) == BOX_BYTES)


async def _in_time(asked: Awaitable[Answer]) -> Answer:
    """Wait for an answer of Redis, in a task of its own: who waits can be cancelled whatever `redis` does then."""
    answer = asyncio.ensure_future(asked)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await asyncio.shield(answer)
    finally:
        answer.cancel()


def _batches(boxes: Set[bytes]) -> Iterable[list[bytes]]:
    ordered = sorted(boxes)
    return (ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH))
