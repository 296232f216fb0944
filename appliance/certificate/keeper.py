"""Keep the page's certificate: ask when one is needed or due, revoke what was replaced, wait; for ever.

An authority that is away, refuses or limits is a state here, not a failure of the process; so is a locked box. An
order begins only while patients, and so the authority, can reach the box: a failed challenge counts against us.
Only a peer on this box that cannot be redialled (core/varlink/watch.py: PeerGone) ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time

from appliance.certificate.order import Ordering
from appliance.certificate.schedule import renew_at, wait_s
from appliance.certificate.settings import CertificateSettings
from appliance.certificate.status import Status, attempts, ends_at
from appliance.contracts.gateway import MakePageKey, PageRequest, ReadPageRequest
from appliance.contracts.opening import until_open
from appliance.contracts.tunnel import ReadState
from appliance.core.errors import PraxisError, Refused, Unavailable
from appliance.core.journal import say
from appliance.core.varlink import Peer, PeerGone, ask_patiently

#: How often the clock on the wall is looked at, which may have been set.
LOOK_S = 3600.0
PORTAL_LOOK_S = 0.5
#: Failures of our own or of the way, which cost the authority nothing.
CHEAP = ("authority_unreachable", "locked", "shut", "peer_away", "peer_lost", "peer_timeout", "peer_busy", "storage")


class Keeper:
    """Keeps it; `run` until cancelled or PeerGone."""

    def __init__(
        self,
        ordering: Ordering,
        vault: Peer,
        gateway: Peer,
        tunnel: Peer,
        settings: CertificateSettings,
        status: Status,
    ) -> None:
        self._ordering = ordering
        self._vault = vault
        self._gateway = gateway
        self._tunnel = tunnel
        self._settings = settings
        self._status = status
        self._wake = asyncio.Event()
        self._is_asked = False
        self._failures = 0
        self._chance = secrets.randbelow(1 << 32) / (1 << 32)

    def renew(self) -> None:
        """Have it renewed now. Unavailable("rate_limited")."""
        self._check_limit()
        self._is_asked = True
        self._wake.set()

    async def replace_key(self) -> None:
        """Have gateway make a new key; the rest follows."""
        await ask_patiently(self._gateway, MakePageKey(), patience_s=self._settings.peer_patience_s)
        self._status.replacing = True
        self._wake.set()

    async def run(self) -> None:
        """Keep it."""
        while True:
            await self._wait(await self._once())
            self._wake.clear()

    async def _wait(self, pause_s: float) -> None:
        """Wait so long by either clock (the one on the wall may be set), or until somebody asks."""
        loop = asyncio.get_running_loop()
        ends_at, due_at = loop.time() + pause_s, time.time() + pause_s
        self._status.next_attempt_at = int(due_at)
        while not self._wake.is_set() and (left_s := min(ends_at - loop.time(), due_at - time.time())) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, LOOK_S)):
                    await self._wake.wait()

    async def _once(self) -> float:
        """Do what is to be done; give the seconds until more is."""
        try:
            await until_open(self._vault)
            page = await self._look()
            if self._is_asked or page.replaced or self._due_in(page) <= 0:
                self._check_limit()
            if self._is_asked or self._due_in(page) <= 0:
                await self._until_reachable()
                await self._ordering.obtain(page)
                self._succeeded("issued")
                page = await self._look()
            if page.replaced:
                await self._ordering.revoke(page.replaced)
                self._succeeded("revoked")
                page = await self._look()
            if page.replaced:
                return 0.0
            return min(self._due_in(page), await self._learn_account())
        except PeerGone:
            raise
        except PraxisError as error:
            return self._failed(error)
        finally:
            self._status.step = "none"

    async def _learn_account(self) -> float:
        """Give the seconds until it is asked for again: nothing depends on it, so an authority may be away."""
        if not self._status.account:
            try:
                await self._ordering.learn_account()
            except PeerGone:
                raise
            except PraxisError as error:
                say("account_not_learnt", family=error.family.lower(), code=error.code)
                return LOOK_S
        return math.inf

    async def _look(self) -> PageRequest:
        page = await ask_patiently(self._gateway, ReadPageRequest(), patience_s=self._settings.peer_patience_s)
        status = self._status
        status.not_before, status.not_after = page.not_before, page.not_after
        status.replacing, status.revoking = page.needed and bool(page.not_after), bool(page.replaced)
        ends_at.set(page.not_after)
        return page

    def _due_in(self, page: PageRequest) -> float:
        return 0.0 if page.needed else renew_at(page.not_before, page.not_after, self._chance) - time.time()

    def _check_limit(self) -> None:
        left_s = self._status.limited_until - int(time.time())
        if left_s > 0:
            raise Unavailable("rate_limited", wait_s=left_s)

    async def _until_reachable(self) -> None:
        self._status.step = "portal"
        while True:
            tunnel = await ask_patiently(self._tunnel, ReadState(), patience_s=self._settings.peer_patience_s)
            if tunnel.state == "connected":
                return
            await asyncio.sleep(PORTAL_LOOK_S)

    def _succeeded(self, outcome: str) -> None:
        self._failures = 0
        self._is_asked = False
        self._status.last_problem, self._status.last_problem_at = "", 0
        attempts.add(outcome)
        say(f"certificate_{outcome}", priority="notice")

    def _failed(self, error: PraxisError) -> float:
        settings, status = self._settings, self._status
        self._is_asked = False
        self._failures += 1
        status.last_problem, status.last_problem_at = error.code, int(time.time())
        attempts.add("refused" if isinstance(error, Refused) else "unavailable")
        say("certificate_failed", priority="warning", family=error.family.lower(), code=error.code)
        cheap = error.code in CHEAP
        first_s, cap_s = (
            (settings.unreachable_first_s, settings.unreachable_cap_s)
            if cheap
            else (settings.refused_first_s, settings.refused_cap_s)
        )
        at_least_s = float(error.details.get("wait_s", 0))
        if error.code == "rate_limited":
            status.limited_until = int(time.time() + at_least_s)
        chance = secrets.randbelow(1 << 32) / (1 << 32)
        return wait_s(self._failures, first_s, cap_s, chance, at_least_s)
