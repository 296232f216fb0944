"""All logins, one per box, and the tokens of their orders.

Rules it keeps: a new login of a box ends the old one at once, and its tokens with it; time costs only those logins
for which it is time (schedule.py). `now` is an argument.
"""

from __future__ import annotations

from provisioning.portal.carriers import WorkConnection
from provisioning.portal.counts import Counts
from provisioning.portal.login import ControlEnd, Login
from provisioning.portal.pool import PooledLogin
from provisioning.portal.schedule import Schedule
from provisioning.portal.settings import PortalSettings
from provisioning.portal.tokens import Tokens


class Boxes:
    """All logins, one per box."""

    def __init__(self, settings: PortalSettings, counts: Counts) -> None:
        self._settings = settings
        self._counts = counts
        self._tokens: Tokens[PooledLogin] = Tokens()
        self._logins: dict[bytes, Login] = {}
        self._schedule: Schedule[Login] = Schedule()

    def login(self, box: bytes, control: ControlEnd, now: float) -> PooledLogin:
        """Log a proved box in that dials work connections, and end its earlier login."""
        login = PooledLogin(box, self._settings, self._tokens, self._schedule.hurry, control, now)
        self.enter(login, now)
        return login

    def enter(self, login: Login, now: float) -> None:
        """Take a login in, and end the earlier one of its box."""
        earlier = self._logins.get(login.box)
        if earlier is not None:
            self.logout(earlier)
        self._logins[login.box] = login
        self._schedule.put(login, login.tidy(now))
        self._counts.boxes_now = len(self._logins)

    def logout(self, login: Login) -> None:
        """End a login; one that was replaced already changes nothing."""
        login.close()
        self._schedule.drop(login)
        if self._logins.get(login.box) is login:
            del self._logins[login.box]
        self._counts.boxes_now = len(self._logins)

    def get(self, box: bytes) -> Login | None:
        """Give the login of a box."""
        return self._logins.get(box)

    def all(self) -> list[Login]:
        """Give every login."""
        return list(self._logins.values())

    def work_connection_arrived(self, token: bytes, connection: WorkConnection, now: float) -> bool:
        """Give a work connection to the login that ordered it; False, and the caller closes it, for a bad token."""
        login = self._redeem(token, now)
        if login is not None:
            login.arrived(connection, now)
        return login is not None

    def probe_arrived(self, token: bytes, now: float) -> bool:
        """Spend a probe's token; False for a bad one."""
        login = self._redeem(token, now)
        if login is not None:
            login.order_spent(now)
        return login is not None

    def tidy(self, now: float) -> None:
        """Expire tokens; ping, renew and order where it is time. Call about once a second."""
        for owner in self._tokens.expire(now):
            owner.order_spent(now)
        for login in self._schedule.due(now):
            if not login.closed:
                self._schedule.put(login, login.tidy(now))

    def close(self) -> None:
        """Hang up on everyone."""
        for login in self.all():
            self.logout(login)

    def _redeem(self, token: bytes, now: float) -> PooledLogin | None:
        login = self._tokens.redeem(token, now)
        if login is None or login.closed:
            self._counts.tokens_refused += 1
            return None
        return login
