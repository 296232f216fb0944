"""Shares that died with the box before: make them anew, as many at a time as are printed in one go, or drop them.

Each gets a new link and a new PIN, printed on two papers like every share (share_routes.py). What was made anew is
off the list at once, also if the one after it fails.
"""

from __future__ import annotations

from aiohttp import web

from appliance.contracts.records import (
    CreateShare,
    DropEarlierShares,
    EarlierShare,
    ListEarlierShares,
    ListShares,
    RevokeShare,
    Share,
)
from appliance.core.errors import Invalid, NotFound, PraxisError
from appliance.practice import fields
from appliance.practice.account_routes import is_session
from appliance.practice.desk import Desk
from appliance.practice.share_routes import DEFAULT_DAYS
from appliance.practice.visit import Visit, see_other

#: So many are shown, and made, at a time: what can be printed before the links are forgotten.
AT_A_TIME = 50


class EarlierRoutes:
    """Pages about shares of the box before."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._records = desk.peers.records

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/shares/earlier", staff(self.show)),
            web.post("/shares/earlier", staff(self.make_anew)),
            web.post("/shares/earlier/drop", staff(self.drop)),
            web.get("/shares/earlier/print", staff(self.show_print)),
        ]

    async def show(self, visit: Visit) -> web.StreamResponse:
        """List them, all ticked."""
        return await self._page(visit)

    async def make_anew(self, visit: Visit) -> web.StreamResponse:
        """Make a new share for each that is ticked."""
        try:
            ticked = self._ticked(visit, await self._earlier(visit))
            days = fields.valid_days(visit.form.get("valid_days", DEFAULT_DAYS))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        failed = None
        for earlier in ticked:
            try:
                await self._make(visit, earlier, days)
            except PraxisError as error:
                if is_session(error):
                    raise
                failed = error
                if not isinstance(error, NotFound):
                    break
        if failed is not None:
            return await self._page(visit, failed)
        return see_other("/shares/earlier/print")

    async def drop(self, visit: Visit) -> web.StreamResponse:
        """Take the ticked ones off the list, once that is confirmed."""
        try:
            ticked = self._ticked(visit, await self._earlier(visit))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        if visit.form.get("confirmed") != "yes":
            t = visit.texts
            return self._desk.pages.show(
                visit,
                "earlier_drop.html",
                nav="shares",
                title=t("earlier.drop.title"),
                subject=t.count("earlier.drop.subject", len(ticked)),
                facts=[one.patient_name for one in ticked],
                warning=t("earlier.drop.warning"),
                action="/shares/earlier/drop",
                button=t("earlier.drop.button"),
                back="/shares/earlier",
                ticked=ticked,
            )
        shares = [one.share for one in ticked]
        await self._records.ask(DropEarlierShares(session=visit.token, shares=shares))
        return see_other("/shares/earlier?done=earlier_dropped")

    async def show_print(self, visit: Visit) -> web.StreamResponse:
        """List what was made anew in this session and is not printed yet."""
        links, now = self._desk.links, self._desk.now()
        rows: list[tuple[Share, bool]] = []
        for share in links.set_to_print(visit.token):
            found = (await self._records.ask(ListShares(session=visit.token, share=share))).shares
            waits = links.waits(visit.token, share, now)
            if found and found[0].state == "open" and (waits or not found[0].pin_printed):
                rows.append((found[0], waits))
        earlier = await self._earlier(visit)
        return self._desk.pages.show(visit, "earlier_print.html", rows=rows, left=len(earlier))

    async def _make(self, visit: Visit, earlier: EarlierShare, days: int) -> None:
        made = await self._records.ask(
            CreateShare(session=visit.token, patient=earlier.patient, documents=earlier.documents, valid_days=days)
        )
        try:
            self._desk.links.keep(
                visit.token, made.share, made.link, earlier.patient, made.expires_at, self._desk.now()
            )
        except PraxisError:
            await self._records.ask(RevokeShare(session=visit.token, share=made.share))
            raise
        self._desk.links.to_print(visit.token, made.share)
        await self._records.ask(DropEarlierShares(session=visit.token, shares=[earlier.share]))

    def _ticked(self, visit: Visit, earlier: list[EarlierShare]) -> list[EarlierShare]:
        wanted = set(visit.form.getall("shares", []))
        ticked = [one for one in earlier if one.share in wanted]
        if not ticked:
            raise Invalid("no_share_ticked")
        if len(ticked) > AT_A_TIME:
            raise Invalid("shares_many", limit=AT_A_TIME)
        return ticked

    async def _earlier(self, visit: Visit) -> list[EarlierShare]:
        return (await self._records.ask(ListEarlierShares(session=visit.token))).shares

    async def _page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        earlier = await self._earlier(visit)
        ticked = set(visit.form.getall("shares", [])) if visit.request.method == "POST" else None
        return self._desk.pages.show(
            visit,
            "earlier.html",
            error=error,
            shares=earlier[:AT_A_TIME],
            left=max(0, len(earlier) - AT_A_TIME),
            ticked=ticked,
            chosen_days=visit.form.get("valid_days", DEFAULT_DAYS),
            to_print=len(self._desk.links.set_to_print(visit.token)),
        )
