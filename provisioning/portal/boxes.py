"""The boxes that are logged in, and for each its spare work connections.

`Login` is one control session: it orders work connections with single-use tokens, keeps a few spare, and gives one
to each patient. Rules it keeps: a new login of a box ends the old one at once; a spare that ends, speaks first or
grows old is closed and ordered anew (the portal renews, because only it knows that a spare is not in use); a
box has at most `max_connections_per_box` connections, ordered ones included. `now` is an argument.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from appliance.core.errors import Unavailable
from appliance.formats.tunnel_control import Frame, Health, Open
from provisioning.portal.counts import Counts
from provisioning.portal.settings import PortalSettings
from provisioning.portal.sockets import quiet
from provisioning.portal.tokens import Tokens


@dataclass(frozen=True, slots=True)
class _Spare:
    sock: socket.socket
    since: float


class Login:
    """One logged-in box. `say` sends it a frame, `hang_up` ends its control connection."""

    def __init__(
        self,
        box: bytes,
        settings: PortalSettings,
        tokens: Tokens[Login],
        say: Callable[[Frame], None],
        hang_up: Callable[[], None],
        now: float,
    ) -> None:
        self.box = box
        self.health = Health(now)
        self._settings = settings
        self._tokens = tokens
        self._say = say
        self._hang_up = hang_up
        self._spares: deque[_Spare] = deque()
        self._waiting: deque[asyncio.Future[socket.socket]] = deque()
        self._ordered = 0
        self._in_use = 0
        self._closed = False

    @property
    def spare_count(self) -> int:
        """How many work connections wait unused."""
        return len(self._spares)

    def tidy(self, now: float) -> None:
        """Close spares past their time and order what is missing."""
        while self._spares and now - self._spares[0].since >= self._settings.spare_lifetime_s:
            self._drop(self._spares[0])
        self._order(now)

    def token_expired(self) -> None:
        """Count one order as unanswered."""
        self._ordered -= 1

    def arrived(self, sock: socket.socket, now: float) -> None:
        """Take a work connection whose token was redeemed; it belongs to this login now."""
        self._ordered -= 1
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(sock)
                return
        spare = _Spare(sock, now)
        self._spares.append(spare)
        asyncio.get_running_loop().add_reader(sock, self._drop, spare)

    @asynccontextmanager
    async def work_connection(self) -> AsyncIterator[socket.socket]:
        """Give a connection to the box for one patient, closed at the end; Unavailable at the cap or in vain.

        The caller sets the deadline.
        """
        if self._in_use >= self._settings.max_connections_per_box:
            raise Unavailable("box_full")
        self._in_use += 1
        try:
            with contextlib.closing(await self._take()) as sock:
                yield sock
        finally:
            self._in_use -= 1

    def close(self) -> None:
        """Hang up and drop the spares; connections in use go on, their box may be back in a second."""
        if self._closed:
            return
        self._closed = True
        self._tokens.forget(self)
        self._hang_up()
        while self._spares:
            self._drop(self._spares[0])
        for waiting in self._waiting:
            waiting.cancel()

    async def _take(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        while self._spares:
            spare = self._spares.pop()  # the youngest: the least likely to be cut by a box in the middle
            loop.remove_reader(spare.sock)
            self._order(loop.time())
            if quiet(spare.sock):
                return spare.sock
            spare.sock.close()
        if self._closed:
            raise Unavailable("box_away")
        waiting: asyncio.Future[socket.socket] = loop.create_future()
        self._waiting.append(waiting)
        self._order(loop.time())
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                waiting.result().close()
            if self._closed:
                raise Unavailable("box_away") from None
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)

    def _order(self, now: float) -> None:
        if self._closed:
            return
        wanted = self._settings.spare_connections + len(self._waiting) - len(self._spares) - self._ordered
        held = self._in_use - len(self._waiting) + len(self._spares) + self._ordered
        for _ in range(min(wanted, self._settings.max_connections_per_box - held)):
            self._ordered += 1
            self._say(Open(self._tokens.issue(self, now)))

    def _drop(self, spare: _Spare) -> None:
        asyncio.get_running_loop().remove_reader(spare.sock)
        spare.sock.close()
        with contextlib.suppress(ValueError):
            self._spares.remove(spare)


class Boxes:
    """All logins, one per box."""

    def __init__(self, settings: PortalSettings, counts: Counts) -> None:
        self._settings = settings
        self._counts = counts
        self._tokens: Tokens[Login] = Tokens()
        self._logins: dict[bytes, Login] = {}

    def login(self, box: bytes, say: Callable[[Frame], None], hang_up: Callable[[], None], now: float) -> Login:
        """Log a proved box in and end its earlier login."""
        earlier = self._logins.pop(box, None)
        if earlier is not None:
            earlier.close()
        login = Login(box, self._settings, self._tokens, say, hang_up, now)
        self._logins[box] = login
        self._counts.boxes_now = len(self._logins)
        return login

    def logout(self, login: Login) -> None:
        """End a login; one that was replaced already changes nothing."""
        login.close()
        if self._logins.get(login.box) is login:
            del self._logins[login.box]
        self._counts.boxes_now = len(self._logins)

    def get(self, box: bytes) -> Login | None:
        """Give the login of a box."""
        return self._logins.get(box)

    def work_connection_arrived(self, token: bytes, sock: socket.socket, now: float) -> bool:
        """Give a work connection to the login that ordered it; False, and the caller closes it, for a bad token."""
        login = self._tokens.redeem(token, now)
        if login is None:
            self._counts.tokens_refused += 1
            return False
        login.arrived(sock, now)
        return True

    def tidy(self, now: float) -> None:
        """Expire tokens, renew spares; call about once a second."""
        for login in self._tokens.expire(now):
            login.token_expired()
        for login in list(self._logins.values()):
            login.tidy(now)

    def close(self) -> None:
        """Hang up on everyone."""
        for login in list(self._logins.values()):
            self.logout(login)
