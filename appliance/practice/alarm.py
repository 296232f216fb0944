"""The red banner on every page: whether watch has found something that nobody has taken care of.

Looked after once a minute and after each acknowledgement, so that no page waits for watch. While watch is away, what
was last heard stands.
"""

from __future__ import annotations

import asyncio

from appliance.contracts.watch import Findings, ReadFindings
from appliance.core.errors import PraxisError
from appliance.core.varlink import Peer
from appliance.practice.pages import Pages

LOOK_EVERY_S = 60.0
ASK_TIMEOUT_S = 3.0


async def look(watch: Peer, pages: Pages) -> Findings | None:
    """Ask watch; the banner is right from now on. None: it does not answer."""
    try:
        found = await watch.ask(ReadFindings(), timeout_s=ASK_TIMEOUT_S)
    except PraxisError:
        return None
    open_kinds = {one.kind for one in found.findings if not one.acknowledged_at}
    logs_only = all(kind.startswith("log_") for kind in open_kinds)
    pages.alarm = "" if not open_kinds else "log" if logs_only else "certificate"
    return found


async def keep_looking(watch: Peer, pages: Pages) -> None:
    """Look until cancelled."""
    while True:
        await look(watch, pages)
        await asyncio.sleep(LOOK_EVERY_S)
