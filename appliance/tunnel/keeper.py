"""Keep the box connected: dial, run a session, wait with back-off, dial again; for ever.

A lost portal, a refusal, a wrong certificate and a portal that breaks the protocol are all states here, not
failures of the process. Only a peer on this box that cannot be redialled (core/varlink/watch.py: PeerGone) ends it.
"""

from __future__ import annotations

import asyncio
import secrets
import time

from appliance.contracts.vault import Describe
from appliance.core.errors import PraxisError, Refused
from appliance.core.journal import say
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.tunnel.backoff import Backoff
from appliance.tunnel.dial import dial_control
from appliance.tunnel.portal_address import PortalAddress
from appliance.tunnel.session import run_session
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import Status, sessions
from appliance.tunnel.work import WorkConnections


async def keep_connected(vault: Peer, gateway: Peer, settings: TunnelSettings, status: Status) -> None:
    """Run until cancelled or PeerGone."""
    backoff = Backoff(settings.backoff_first_s, settings.backoff_cap_s)
    async with asyncio.TaskGroup() as group:
        work = WorkConnections(group, gateway, settings, status)
        while True:
            wait_s = await _connect_once(vault, settings, status, work, backoff)
            await asyncio.sleep(wait_s)


async def _connect_once(
    vault: Peer, settings: TunnelSettings, status: Status, work: WorkConnections, backoff: Backoff
) -> float:
    """Run one session to its end; give the seconds to wait before the next."""
    was_accepted = False
    at_least_s = 0.0

    def accepted() -> None:
        nonlocal was_accepted
        was_accepted = True
        backoff.succeeded()
        status.enter("connected", int(time.time()))
        sessions.add("accepted")
        say("portal_connected")

    try:
        portal = PortalAddress.of(await ask_patiently(vault, Describe(), patience_s=settings.peer_patience_s))
        async with dial_control(portal, settings.dial_timeout_s) as socket:
            await run_session(
                socket,
                vault,
                settings,
                accepted=accepted,
                order=lambda token: work.open(socket.address, token),
            )
    except PeerGone:
        raise
    except PraxisError as error:
        refused = isinstance(error, Refused)
        sessions.add("lost" if was_accepted else "refused" if refused else "unreachable")
        status.enter("refused" if refused else "connecting", int(time.time()))
        say("portal_lost", priority="notice", family=error.family.lower(), code=error.code)
        at_least_s = float(error.details.get("wait_s", 0))
    return backoff.next_s(secrets.randbelow(1 << 32) / (1 << 32), at_least_s)
