"""Links between "share made" and "sheet printed": in memory, for the session that made them, for an hour at most.

The link holds the secret S; records has forgotten it. Here it ends by confirmation, by the session's end, by time, or
with the process. `now` is an argument; nothing is written anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.core.errors import NotFound, Unavailable

KEPT_S = 3600
MAX_LINKS = 500


@dataclass(frozen=True)
class PendingLink:
    """A link that is not printed yet."""

    link: str = field(repr=False)
    patient: str
    expires_at: int
    forget_at: float


class PendingLinks:
    """The links that wait to be printed, by session and share."""

    def __init__(self) -> None:
        self._links: dict[tuple[str, str], PendingLink] = {}
        #: Shares made in one go, to be printed one after the other, by session.
        self._sets: dict[str, list[str]] = {}

    def keep(self, session: str, share: str, link: str, patient: str, expires_at: int, now: float) -> None:
        """Keep a link; Unavailable("links_waiting") if too many wait (the new one is then to be revoked)."""
        self._forget_old(now)
        if len(self._links) >= MAX_LINKS:
            raise Unavailable("links_waiting")
        self._links[session, share] = PendingLink(link, patient, expires_at, now + KEPT_S)

    def to_print(self, session: str, share: str) -> None:
        """A share was made together with others: its papers are listed until both are printed."""
        self._sets.setdefault(session, []).append(share)

    def set_to_print(self, session: str) -> list[str]:
        """Give the session's shares that were made together and are not printed."""
        return list(self._sets.get(session, []))

    def printed(self, session: str, share: str) -> bool:
        """Both papers of a share are printed; says whether it was made together with others."""
        shares = self._sets.get(session, [])
        if share not in shares:
            return False
        shares.remove(share)
        return True

    def show(self, session: str, share: str, now: float) -> PendingLink:
        """Give a link to its own session; NotFound("link")."""
        self._forget_old(now)
        try:
            return self._links[session, share]
        except KeyError:
            raise NotFound("link") from None

    def waits(self, session: str, share: str, now: float) -> bool:
        """Say whether a link waits to be printed."""
        self._forget_old(now)
        return (session, share) in self._links

    def forget(self, session: str, share: str) -> None:
        """The sheet is printed: the link is gone for good."""
        self._links.pop((session, share), None)

    def forget_session(self, session: str) -> None:
        """The session ended."""
        self._sets.pop(session, None)
        for key in [key for key in self._links if key[0] == session]:
            del self._links[key]

    def forget_share(self, share: str) -> None:
        """The share was revoked."""
        for shares in self._sets.values():
            if share in shares:
                shares.remove(share)
        for key in [key for key in self._links if key[1] == share]:
            del self._links[key]

    def _forget_old(self, now: float) -> None:
        for key in [key for key, pending in self._links.items() if pending.forget_at <= now]:
            del self._links[key]
