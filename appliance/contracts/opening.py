"""Watching whether vault's keys are open: who works with what vault holds begins and ends with it.

A vault that is being started anew says nothing; that alone ends no work (docs/processes.md, "When a process dies").
"""

from __future__ import annotations

import asyncio

from appliance.contracts.vault import Opening, WatchOpening
from appliance.core.errors import Unavailable
from appliance.core.varlink import Peer, WatchedPeer, ask_patiently

#: vault answers within 20 s, also where nothing changed.
WATCH_TIMEOUT_S = 40.0
PAUSE_S = 0.25


async def ask_opening(vault: Peer | WatchedPeer, *, patience_s: float) -> Opening:
    """Give what vault says now, dialling again for up to `patience_s` (core/varlink/watch.py)."""
    return await ask_patiently(vault, WatchOpening(state="unprovisioned"), patience_s=patience_s)


async def until_open(vault: Peer | WatchedPeer) -> None:
    """Wait until the keys are open."""
    opening: Opening | None = None
    while opening is None or opening.state != "open":
        opening = await _watch(vault, opening)


async def until_not_open(vault: Peer | WatchedPeer) -> Opening:
    """Wait until vault says that the keys are not open any more."""
    while True:
        opening = await _watch(vault, Opening(state="open", why=""))
        if opening is not None and opening.state != "open":
            return opening


async def _watch(vault: Peer | WatchedPeer, known: Opening | None) -> Opening | None:
    """Give what vault says as soon as it differs from what is known; None if it says nothing now."""
    try:
        return await vault.ask(
            WatchOpening(state=known.state if known else "unprovisioned"), timeout_s=WATCH_TIMEOUT_S
        )
    except Unavailable:
        await asyncio.sleep(PAUSE_S)
        return None
