"""The work connections of one box: ordered with single-use tokens, a few kept spare, one given to each patient.

Rules it keeps: a spare that ends, speaks first or grows old is closed and ordered anew, at most once a second (the
portal renews, because only it knows that a spare is not in use); ordered ones count towards the box's cap; a
probe spends its order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from appliance.core.errors import Unavailable
from appliance.formats.tunnel_control import Open
from provisioning.portal.carriers import WorkConnection
from provisioning.portal.login import ControlEnd, Login
from provisioning.portal.settings import PortalSettings
from provisioning.portal.tokens import Tokens

REORDER_AFTER_S = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Spare:
    connection: WorkConnection
    since: float


class PooledLogin(Login):
    """A box that dials its work connections. `hurry` asks for an earlier `tidy`."""

    __slots__ = ("_hurry", "_ordered", "_settings", "_spares", "_tokens", "_waiting")

    def __init__(
        self,
        box: bytes,
        settings: PortalSettings,
        tokens: Tokens[PooledLogin],
        hurry: Callable[[Login, float], None],
        control: ControlEnd,
        now: float,
    ) -> None:
        super().__init__(box, settings.max_connections_per_box, control, now)
        self._settings = settings
        self._tokens = tokens
        self._hurry = hurry
        self._spares: list[_Spare] = []
        self._waiting: list[asyncio.Future[WorkConnection]] = []
        self._ordered = 0

    @property
    def spare_count(self) -> int:
        """How many work connections wait unused."""
        return len(self._spares)

    def tidy(self, now: float) -> float:
        """Also close spares past their time and order what is missing."""
        next_at = super().tidy(now)
        while self._spares and now - self._spares[0].since >= self._settings.spare_lifetime_s:
            self._drop(self._spares[0])
        self._order(now)
        if self._spares:
            next_at = min(next_at, self._spares[0].since + self._settings.spare_lifetime_s)
        return next_at

    def order_spent(self, now: float) -> None:
        """Count one order as answered by nothing: it lapsed, or was a probe."""
        self._ordered -= 1
        self._hurry(self, now + REORDER_AFTER_S)

    def arrived(self, connection: WorkConnection, now: float) -> None:
        """Take a work connection whose token was redeemed; it belongs to this login now."""
        self._ordered -= 1
        while self._waiting:
            waiting = self._waiting.pop(0)
            if not waiting.done():
                waiting.set_result(connection)
                return
        spare = _Spare(connection, now)
        self._spares.append(spare)
        connection.watch(lambda: self._drop(spare))
        self._hurry(self, now + self._settings.spare_lifetime_s)

    async def _take(self) -> WorkConnection:
        loop = asyncio.get_running_loop()
        while self._spares:
            connection = self._spares.pop().connection  # the youngest: the least likely cut by a box in the middle
            connection.unwatch()
            self._order(loop.time())
            if connection.is_quiet():
                return connection
            connection.close()
        if self.closed:
            raise Unavailable("box_away")
        waiting: asyncio.Future[WorkConnection] = loop.create_future()
        self._waiting.append(waiting)
        self._order(loop.time())
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                waiting.result().close()
            if self.closed:
                raise Unavailable("box_away") from None
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)

    def _order(self, now: float) -> None:
        if self.closed:
            return
        wanted = self._settings.spare_connections + len(self._waiting) - len(self._spares) - self._ordered
        held = self._in_use - len(self._waiting) + len(self._spares) + self._ordered
        for _ in range(min(wanted, self._limit - held)):
            self._ordered += 1
            self._control.say(Open(self._tokens.issue(self, now)))

    def _drop(self, spare: _Spare) -> None:
        spare.connection.unwatch()
        spare.connection.close()
        with contextlib.suppress(ValueError):
            self._spares.remove(spare)
        self._hurry(self, asyncio.get_running_loop().time() + REORDER_AFTER_S)

    def _forget(self) -> None:
        while self._spares:
            self._drop(self._spares[0])
        for waiting in self._waiting:
            waiting.cancel()
