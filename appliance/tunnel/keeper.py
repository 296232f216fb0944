"""Keep one control connection: dial, run a session, wait with back-off, dial again; for ever.

A lost portal, a refusal, a wrong certificate and a portal that breaks the protocol are all states here, not
failures of the process. Only a peer on this box that cannot be redialled (core/varlink/watch.py: PeerGone) ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import Callable

from appliance.core.errors import PraxisError, Refused, Unavailable
from appliance.core.journal import say
from appliance.core.varlink import Peer, PeerGone
from appliance.formats.tunnel_control import CONTROL_PATH, STREAMS_PATH
from appliance.tunnel.backoff import Backoff
from appliance.tunnel.conversation import Conversation
from appliance.tunnel.dial import ControlSocket, Dialling, dial_control
from appliance.tunnel.orders import NoWay, Orders
from appliance.tunnel.portal_address import PortalAddress
from appliance.tunnel.route import Route
from appliance.tunnel.session import Beside, Follow, run_session
from appliance.tunnel.settings import TunnelSettings
from appliance.tunnel.status import State, Status, sessions
from appliance.tunnel.streams import PatientStreams
from appliance.tunnel.tcp import UNSENT_SHARED_BYTES, WorkDialler, socket_maker
from appliance.tunnel.work import WorkConnections


class Leaves(Unavailable):
    """This side ends the session, to try a better mode."""


class Keeper:
    """Keeps the connection to one relay. `lost` is called whenever a connection ended, or could not be made.

    A portal that drains sends its boxes away. Patients on connections of their own stay where they are; patients
    inside the control connection keep it, beside the new one, until the last of them is done.
    """

    def __init__(
        self,
        portal: PortalAddress,
        context: ssl.SSLContext,
        vault: Peer,
        settings: TunnelSettings,
        *,
        route: Route,
        status: Status,
        work: WorkConnections,
        lost: Callable[[], None],
    ) -> None:
        self._portal = portal
        self._context = context
        self._vault = vault
        self._settings = settings
        self._route = route
        self._status = status
        self._work = work
        self._lost = lost
        self._backoff = Backoff(settings.backoff_first_s, settings.backoff_cap_s)
        #: Dial for work connections although streams worked last.
        self._from_the_top = False
        self._was_accepted = False
        #: Sessions that the portal sent away and whose patients are not done.
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until cancelled or PeerGone."""
        try:
            while True:
                wait_s = await self._connect_once()
                await asyncio.sleep(wait_s)
        finally:
            for task in self._leaving:
                task.cancel()

    async def _connect_once(self) -> float:
        """Run one session to its end; give the seconds to wait before the next."""
        self._was_accepted = False
        over_streams = self._route.proxy is not None or (self._route.mode == "streams" and not self._from_the_top)
        try:
            if over_streams:
                await self._until_sent_away()
                return 0.0
            await self._run_orders()
        except PeerGone:
            raise
        except (NoWay, Leaves) as error:
            sessions.add("left")
            self._from_the_top = isinstance(error, Leaves)
            if isinstance(error, NoWay):
                self._route.found("streams")
            self._status.enter(self._portal.address, "connecting", int(time.time()))
            return 0.0
        except PraxisError as error:
            self._note(error)
            if not self._was_accepted and not isinstance(error, Refused):
                self._from_the_top = over_streams  # else the other way round next time
            self._lost()
            return self._backoff.next_s(secrets.randbelow(1 << 32) / (1 << 32), float(error.details.get("wait_s", 0)))
        raise AssertionError  # a session ends by raising

    def _note(self, error: PraxisError) -> None:
        refused = isinstance(error, Refused)
        sessions.add("lost" if self._was_accepted else "refused" if refused else "unreachable")
        state: State = "refused" if refused else "connecting"
        self._status.enter(self._portal.address, state, int(time.time()), error.code)
        say("portal_lost", priority="notice", family=error.family.lower(), code=error.code)

    def _accept(self) -> None:
        self._was_accepted = True
        self._backoff.succeeded()
        self._status.enter(self._portal.address, "connected", int(time.time()))
        sessions.add("accepted")
        say("portal_connected")

    async def _run_orders(self) -> None:
        """A session in which the portal orders work connections."""
        settings = self._settings
        make_socket = socket_maker(settings.dead_after_s)
        dialling = Dialling(settings.dial_timeout_s, make_socket)
        async with dial_control(self._portal, CONTROL_PATH, dialling, self._context) as socket:
            dialler = WorkDialler(socket.address, self._portal.name, self._context, make_socket)
            orders = Orders(
                dialler,
                self._work,
                self._route,
                settings.probe_timeout_s,
                uses=lambda mode: self._status.uses(self._portal.address, mode),
            )
            await self._converse(socket, Conversation(socket), orders.follow, (orders.run,))

    async def _until_sent_away(self) -> None:
        """Run a session over streams; ends by raising with it, or when the portal wants the box elsewhere."""
        sent_away = asyncio.Event()
        session = asyncio.ensure_future(self._run_streams(sent_away))
        away = asyncio.ensure_future(sent_away.wait())
        try:
            await asyncio.wait((session, away), return_when=asyncio.FIRST_COMPLETED)
            if not sent_away.is_set():
                session.result()
            self._leaving.add(session)
            session.add_done_callback(self._left)
        finally:
            away.cancel()
            if session not in self._leaving:
                session.cancel()
                await asyncio.gather(session, return_exceptions=True)

    def _left(self, session: asyncio.Task[None]) -> None:
        """Forget a session that ended after its portal had sent it away; why does not matter any more."""
        self._leaving.discard(session)
        if not session.cancelled():
            session.exception()

    async def _run_streams(self, sent_away: asyncio.Event) -> None:
        """A session that carries the patients itself; `sent_away` is set when the portal sends no more of them."""
        settings = self._settings
        make_socket = socket_maker(settings.dead_after_s, unsent_bytes=UNSENT_SHARED_BYTES)
        dialling = Dialling(settings.dial_timeout_s, make_socket, self._route.proxy)
        async with dial_control(self._portal, STREAMS_PATH, dialling, self._context) as socket:
            patients = PatientStreams(
                self._work.hand_over,
                self._work.slots,
                self._status,
                max_streams=settings.max_connections,
                stall_s=settings.stall_timeout_s,
            )

            conversation = Conversation(socket, patients)

            async def leave_when_sent_away() -> None:
                await conversation.goes_away.wait()
                sent_away.set()
                await patients.until_idle()
                raise Leaves("leaves")

            async def leave_for_better() -> None:
                self._status.uses(self._portal.address, "streams")
                self._from_the_top = False
                await self._leave_for_better(patients, sent_away)

            await self._converse(socket, conversation, None, (patients.run, leave_when_sent_away, leave_for_better))

    async def _converse(
        self, socket: ControlSocket, conversation: Conversation, order: Follow | None, beside: tuple[Beside, ...]
    ) -> None:
        await run_session(
            conversation,
            socket.certificate_sha256,
            self._vault,
            self._settings,
            accepted=self._accept,
            order=order,
            beside=beside,
        )

    async def _leave_for_better(self, patients: PatientStreams, sent_away: asyncio.Event) -> None:
        """Wait until a better mode is due and no patient is there, at most `retry_at_latest_s`; raises Leaves."""
        if self._route.proxy is not None:
            return
        await self._route.until_better_is_due()
        if sent_away.is_set():  # the session beside this one looks for a better mode
            return
        if self._route.mode == "streams":
            self._route.tries_better()  # another relay's connection stays as it is meanwhile
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.retry_at_latest_s):
                await patients.until_idle()
        raise Leaves("leaves")
