"""What every page has at hand: the peers, the pages, the waiting links, the clock."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

from appliance.contracts.vault import Box, Describe
from appliance.practice.guard import Guard
from appliance.practice.lan_certificate import LanCertificate
from appliance.practice.pages import Pages
from appliance.practice.peers import Peers
from appliance.practice.pending_kits import PendingKits
from appliance.practice.pending_links import PendingLinks
from appliance.practice.settings import PracticeSettings
from appliance.practice.texts import local_time


@dataclass(frozen=True)
class Desk:
    """Made once at start; `now` is the clock in unix seconds."""

    settings: PracticeSettings
    certificate: LanCertificate
    peers: Peers
    pages: Pages
    links: PendingLinks
    kits: PendingKits
    guard: Guard
    now: Callable[[], float]

    def today(self) -> datetime.date:
        """Give the date at the practice."""
        return local_time(self.now()).date()

    async def box(self) -> Box:
        """Give who this box is; asks vault until it is claimed, for then nothing of it changes."""
        if not self.pages.box.claimed:
            self.pages.box = await self.peers.vault.ask(Describe())
        return self.pages.box
