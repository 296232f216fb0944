"""Who asks: every verb first has vault check the session or device token it carries.

A device token adds documents and reads none. The caps on reads and shares are counted here (limits.py).
"""

from __future__ import annotations

from collections.abc import Callable

from appliance.contracts.vault import CheckSession, Session
from appliance.core.errors import Refused
from appliance.core.varlink import Peer
from appliance.records.limits import Limit

MAX_DOCUMENT_READS = 300
MAX_PASSAGES = 1000
READ_WINDOW_S = 600
MAX_SHARES = 60
SHARE_WINDOW_S = 3600


class Sessions:
    """Asks vault; raises its Refused("session") and Refused("session_kind") of its own."""

    def __init__(self, vault: Peer, clock: Callable[[], float]) -> None:
        self._vault = vault
        self._clock = clock
        self._reads = Limit("read_limit", MAX_DOCUMENT_READS, READ_WINDOW_S)
        self._passages = Limit("search_limit", MAX_PASSAGES, READ_WINDOW_S)
        self._shares = Limit("share_limit", MAX_SHARES, SHARE_WINDOW_S)

    async def check(self, token: str, *, touch: bool = True) -> Session:
        """Give who the token speaks for, staff or device; `touch` for what a person did, not for looking."""
        return await self._vault.ask(CheckSession(session=token, touch=touch))

    async def check_staff(self, token: str, *, touch: bool = True) -> Session:
        """Give the member of staff; Refused("session_kind") for a device."""
        session = await self.check(token, touch=touch)
        if session.kind != "staff":
            raise Refused("session_kind")
        return session

    def count_read(self, session: Session, document: str) -> bool:
        """Count a document that is read; False if it was counted already. Unavailable("read_limit", wait_s)."""
        return self._reads.take(session.principal, document, self._clock())

    def count_passage(self, session: Session, document: str) -> bool:
        """Count a document of which a search shows text; False if it was already. Unavailable("search_limit")."""
        return self._passages.take(session.principal, document, self._clock())

    def forget_passage(self, session: Session, document: str) -> None:
        """Take back a count: the passage was not shown."""
        self._passages.give_back(session.principal, document)

    def count_share(self, session: Session, share: str) -> None:
        """Count a share that is made; Unavailable("share_limit", wait_s)."""
        self._shares.take(session.principal, share, self._clock())
