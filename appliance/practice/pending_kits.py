"""The words of a new recovery kit between "made" and "printed": in memory, for the session that made it, for an hour
at most, each sheet until it is confirmed.

vault has forgotten them. Here they end by confirmation, by the session's end, by a newer kit of the session, by time,
or with the process. `now` is an argument; nothing is written anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from appliance.core.errors import NotFound

KEPT_S = 3600


@dataclass
class PendingKit:
    """A kit whose sheets are being printed; `asked` and `checked` are the numbers of the words asked back."""

    kit: str
    name: str
    asked: list[int]
    checked: list[int]
    forget_at: float
    #: The sheets that are not confirmed yet, by number.
    sheets: dict[int, str] = field(repr=False)


class PendingKits:
    """The kits that wait to be printed: one for each session."""

    def __init__(self) -> None:
        self._kits: dict[str, PendingKit] = {}

    def keep(self, session: str, kit: PendingKit, now: float) -> None:
        """Keep a kit, in place of an earlier one of this session."""
        self._kits = {token: one for token, one in self._kits.items() if now < one.forget_at}
        self._kits[session] = kit

    def show(self, session: str, kit: str, now: float) -> PendingKit:
        """Give a kit to its own session; NotFound("kit")."""
        found = self._kits.get(session)
        if found is None or found.kit != kit or now >= found.forget_at:
            raise NotFound("kit")
        return found

    def confirm(self, session: str, kit: str, left: list[int]) -> None:
        """Forget the sheets that are confirmed."""
        found = self._kits.get(session)
        if found is not None and found.kit == kit:
            found.sheets = {number: words for number, words in found.sheets.items() if number in left}
            if not found.sheets:
                del self._kits[session]

    def forget_session(self, session: str) -> None:
        """The session ended."""
        self._kits.pop(session, None)
