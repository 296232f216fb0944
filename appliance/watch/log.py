"""Follow one log (RFC 6962): its newest head continues the last one, and its entries are those the head stands for.

Order of a round: head, its signature, consistency with the head that is kept, then the entries that are new, each
hashed into the tree and looked through for the box's name. When the last is read, the tree's root must be the head's.
Raises what Fetcher and the formats raise; what is wrong with the log itself is LogBroken.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from appliance.contracts.watch import FindingKind
from appliance.core.errors import Invalid, PraxisError, Tampered
from appliance.formats import certificate_log as formats
from appliance.formats.certificate_log import LogKey, TreeHead
from appliance.formats.merkle_tree import RightEdge, check_consistency, edge_of_last_leaf, leaf_hash
from appliance.formats.seen_certificate import SeenCertificate, look_through
from appliance.watch.fetching import Fetcher
from appliance.watch.settings import WatchSettings
from appliance.watch.state import LogState

MAX_HEAD_BYTES = 16 * 1024

Keep = Callable[[LogState], None]
Seen = Callable[[SeenCertificate], Awaitable[None]]


class LogBroken(PraxisError):
    """The log contradicts itself, and its own signatures show it."""

    def __init__(self, kind: FindingKind, *heads: TreeHead) -> None:
        super().__init__(kind)
        self.kind = kind
        self.heads = list(heads)


class Log:
    """A log as it is followed; `seen` is told each certificate for `host`, then `keep` how far that is."""

    def __init__(self, fetcher: Fetcher, key: LogKey, settings: WatchSettings, host: str) -> None:
        self._fetcher = fetcher
        self._key = key
        self._settings = settings
        self._host = host

    async def follow(self, state: LogState, *, whole: bool, keep: Keep, seen: Seen) -> LogState:
        """Go on from `state` to the newest head, or as far as a round goes; give how far that is.

        `state.head` is the head that is read towards; a log that was read up to it has `edge.size == head.size`.
        """
        head = await self._newest_head(state.head)
        if state.head is None and not whole and head.size:
            state = replace(state, edge=await self._edge_at(head))
        state = replace(state, head=head)
        until = min(head.size, state.edge.size + self._settings.entries_a_round)
        while state.edge.size < until:
            edge, found = await self._read(state.edge, until)
            state = replace(state, edge=edge)
            for one in found:
                await seen(one)
            keep(state)
        if state.edge.size == head.size and state.edge.root() != head.root:
            raise LogBroken("log_differs", head)
        return state

    async def _newest_head(self, kept: TreeHead | None) -> TreeHead:
        """Give the head that is the furthest, having checked that both are of one history."""
        answer = await self._fetcher.get("/ct/v1/get-sth", max_bytes=MAX_HEAD_BYTES)
        head = formats.read_tree_head(answer, self._key)
        if kept is None:
            return head
        if head.size < kept.size and head.timestamp_ms > kept.timestamp_ms:
            raise LogBroken("log_went_back", kept, head)
        older, newer = (kept, head) if kept.size <= head.size else (head, kept)
        proof: list[bytes] = []
        if 0 < older.size < newer.size:
            query = [("first", str(older.size)), ("second", str(newer.size))]
            proof = formats.read_consistency(await self._fetcher.get("/ct/v1/get-sth-consistency", query))
        try:
            check_consistency(older.size, older.root, newer.size, newer.root, proof)
        except Tampered as error:
            raise LogBroken("log_forked", kept, head) from error
        return max(kept, head, key=lambda one: (one.size, one.timestamp_ms))

    async def _read(self, edge: RightEdge, until: int) -> tuple[RightEdge, list[SeenCertificate]]:
        """Read the next entries, as many as the log likes to give, and fewer if they are too large together."""
        count = min(self._settings.entries_at_once, until - edge.size)
        while True:
            query = [("start", str(edge.size)), ("end", str(edge.size + count - 1))]
            try:
                answer = await self._fetcher.get("/ct/v1/get-entries", query)
                break
            except Invalid:
                if count == 1:
                    raise
                count = (count + 3) // 4
        found = []
        for leaf in formats.read_entries(answer, count):
            edge = edge.add(leaf_hash(leaf))
            one = self._look_through(leaf)
            if one is not None:
                found.append(one)
        return edge, found

    def _look_through(self, leaf: bytes) -> SeenCertificate | None:
        try:
            return look_through(formats.read_leaf(leaf), self._host)
        except Invalid:
            # Nothing that this version knows: its bytes are looked through all the same.
            return look_through(formats.Leaf("x509", 0, leaf), self._host)

    async def _edge_at(self, head: TreeHead) -> RightEdge:
        """Give the tree at a head without reading it: from the proof for its last entry."""
        last = str(head.size - 1)
        answer = await self._fetcher.get("/ct/v1/get-entries", [("start", last), ("end", last)])
        hashed = leaf_hash(formats.read_entries(answer, 1)[0])
        query = [("hash", base64.b64encode(hashed).decode()), ("tree_size", str(head.size))]
        index, proof = formats.read_inclusion(await self._fetcher.get("/ct/v1/get-proof-by-hash", query))
        if index != head.size - 1:
            raise Invalid("log_answer")
        try:
            return edge_of_last_leaf(hashed, head.size, proof, head.root)
        except Tampered as error:
            raise LogBroken("log_differs", head) from error
