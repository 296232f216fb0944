"""What records answers about shares that died and may be made anew."""

from __future__ import annotations

from appliance.contracts.records import DropEarlierShares, EarlierShares, ListEarlierShares, TakeRevoked
from appliance.contracts.vault import NameLiveShares
from appliance.core.varlink import Answers, Caller, Done
from appliance.records import earlier_shares, shares
from appliance.records.archive import Archive
from appliance.records.threads import on_thread


class EarlierShareAnswers:
    """Answers of one archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def table(self) -> Answers:
        """Give the verbs with their answers."""
        return {
            ListEarlierShares: self.answer_list,
            DropEarlierShares: self.answer_drop,
            TakeRevoked: self.answer_take_revoked,
        }

    async def answer_list(self, call: ListEarlierShares, _: Caller) -> EarlierShares:
        """Give the list."""
        await self._archive.sessions.check_staff(call.session, touch=False)
        return EarlierShares(shares=await self._archive.database.run(earlier_shares.listed))

    async def answer_drop(self, call: DropEarlierShares, _: Caller) -> Done:
        """Take shares off the list."""
        await self._archive.sessions.check_staff(call.session)
        await self._archive.database.run(lambda rows: earlier_shares.drop(rows, call.shares))
        return Done()

    async def answer_take_revoked(self, call: TakeRevoked, _: Caller) -> Done:
        """Put revoked shares on the list, then empty their place in the spool; one that vault holds open stays."""
        archive = self._archive
        await archive.sessions.check_staff(call.session)
        live = set((await archive.vault.ask(NameLiveShares())).shares)
        revoked = [share for share in call.shares if share not in live]
        async with archive.share_changes:
            locators = await archive.database.run(lambda rows: shares.locators(rows, revoked))
            await archive.database.run(lambda rows: earlier_shares.note_revoked(rows, revoked))
            await on_thread(archive.file_threads, archive.spool.withdraw, locators)
        return Done()
