"""The processes practice asks, and the watch over the two it cannot work without (core/varlink/watch.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from appliance.contracts.backup import BACKUP
from appliance.contracts.certificate import CERTIFICATE
from appliance.contracts.page_key import PAGE_KEY
from appliance.contracts.process import PROCESS
from appliance.contracts.records import RECORDS
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.vault import VAULT
from appliance.contracts.watch import WATCH
from appliance.core.varlink import Peer, WatchedPeer
from appliance.core.varlink.client import SOCKET_FOLDER

#: Whose metrics the status page shows, besides our own.
OTHERS = ("vault", "records", "audit", "gateway", "tunnel", "certificate", "watch", "backup")


class Peers:
    """Everyone practice may ask."""

    def __init__(self, *, folder: Path = SOCKET_FOLDER) -> None:
        self.vault = WatchedPeer(Peer.of(VAULT, "vault", folder))
        self.records = WatchedPeer(Peer.of(RECORDS, "records", folder))
        self.tunnel = Peer.of(TUNNEL, "tunnel", folder)
        self.certificate = Peer.of(CERTIFICATE, "certificate", folder)
        self.page_key = Peer.of(PAGE_KEY, "vault", folder)
        self.watcher = Peer.of(WATCH, "watch", folder)
        self.backup = Peer.of(BACKUP, "backup", folder)
        self.processes: Mapping[str, Peer] = {name: Peer.of(PROCESS, name, folder) for name in OTHERS}

    async def watch(self, patience_s: float) -> None:
        """Run until vault or records cannot be dialled for `patience_s`; raises Unavailable("peer_away") then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.vault.watch(patience_s))
            group.create_task(self.records.watch(patience_s))
