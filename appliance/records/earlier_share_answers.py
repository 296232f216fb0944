"""What records answers about the shares that died with the box before."""

from __future__ import annotations

from appliance.contracts.records import DropEarlierShares, EarlierShares, ListEarlierShares
from appliance.core.varlink import Answers, Caller, Done
from appliance.records import earlier_shares
from appliance.records.archive import Archive


class EarlierShareAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {ListEarlierShares: self.answer_list, DropEarlierShares: self.answer_drop}

    async def answer_list(self, call: ListEarlierShares, _: Caller) -> EarlierShares:
        """Give the list."""
        await self._archive.sessions.check_staff(call.session, touch=False)
        return EarlierShares(shares=await self._archive.database.run(earlier_shares.listed))

    async def answer_drop(self, call: DropEarlierShares, _: Caller) -> Done:
        """Take shares off the list."""
        await self._archive.sessions.check_staff(call.session)
        await self._archive.database.run(lambda rows: earlier_shares.drop(rows, call.shares))
        return Done()
