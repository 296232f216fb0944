"""Sessions of staff: in memory only, so a restart of vault locks every screen. Pure but for its own memory.

A session ends after 15 minutes without activity, 12 hours after it began, at log-out, and with its member. Kept is
the SHA-256 of the token. Source: OWASP ASVS 5.0, 7.3 (timeouts) and 7.4 (termination).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from appliance.core.errors import Refused

IDLE_TIMEOUT_S = 15 * 60
ABSOLUTE_TIMEOUT_S = 12 * 3600
MAX_SESSIONS_EACH = 20
TOKEN_BYTES = 32


@dataclass(frozen=True)
class StaffSession:
    """One logged-in screen. `csrf` is the secret its forms carry."""

    principal: str
    csrf: str
    began_at: int
    active_at: int

    def is_live(self, now: int) -> bool:
        """True before both timeouts."""
        return now < self.active_at + IDLE_TIMEOUT_S and now < self.began_at + ABSOLUTE_TIMEOUT_S

    def idle_s_left(self, now: int) -> int:
        """Give the seconds until it ends without activity."""
        return min(self.active_at + IDLE_TIMEOUT_S, self.began_at + ABSOLUTE_TIMEOUT_S) - now


def token_verifier(token: str) -> bytes:
    """Give what is kept of a bearer token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


class Sessions:
    """The sessions that are live."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, StaffSession] = {}

    def begin(self, token: str, principal: str, csrf: str, now: int) -> None:
        """Begin a session; the member's oldest of more than 20 ends."""
        self.settle(now)
        own = [verifier for verifier, session in self._sessions.items() if session.principal == principal]
        for verifier in own[: max(0, len(own) + 1 - MAX_SESSIONS_EACH)]:
            del self._sessions[verifier]
        self._sessions[token_verifier(token)] = StaffSession(principal, csrf, now, now)

    def check(self, token: str, now: int, *, touch: bool) -> StaffSession:
        """Give the session; `touch` counts as activity. Refused("session")."""
        verifier = token_verifier(token)
        session = self._sessions.get(verifier)
        if session is None or not session.is_live(now):
            self._sessions.pop(verifier, None)
            raise Refused("session")
        if touch:
            session = self._sessions[verifier] = replace(session, active_at=now)
        return session

    def end(self, token: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(token_verifier(token), None)

    def end_of(self, principal: str, *, but: str = "") -> None:
        """End a member's sessions, except that of the token `but`."""
        spared = token_verifier(but)
        self._sessions = {
            verifier: session
            for verifier, session in self._sessions.items()
            if session.principal != principal or verifier == spared
        }

    def settle(self, now: int) -> None:
        """Forget what has ended."""
        self._sessions = {verifier: one for verifier, one in self._sessions.items() if one.is_live(now)}
