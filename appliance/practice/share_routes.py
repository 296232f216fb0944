"""Shares: make one, print its link sheet, then, on another page, its PIN slip; list and revoke.

Rules (docs/threats.md): no answer holds link and PIN: the link's pages never ask vault for the PIN, and the PIN's
pages are not shown while the link waits. Each is shown until "printed" is confirmed, and is then gone for good.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from appliance.contracts.records import CreateShare, ListEarlierShares, ListShares, RevokeShare, Share
from appliance.contracts.values import MAX_SHARE_DOCUMENTS
from appliance.contracts.vault import ConfirmPin, ReadPin
from appliance.core.errors import Invalid, NotFound, PraxisError
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.disposition import content_disposition
from appliance.practice.headers import PDF_POLICY
from appliance.practice.key_print import read_key_print
from appliance.practice.language import LANGUAGES
from appliance.practice.patient_routes import MAX_AFTER, patient_page
from appliance.practice.pending_links import PendingLink
from appliance.practice.qr_code import qr_squares
from appliance.practice.sheets import LinkSheet, PinSlip, draw_link_sheet, draw_pin_slip
from appliance.practice.visit import Visit, see_other

#: Two weeks; short, since what is not fetched by then is asked for anew.
DEFAULT_DAYS = "14"
PAGE_COUNT = 50


class ShareRoutes:
    """Pages about shares."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._records = desk.peers.records
        self._vault = desk.peers.vault

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.post("/patients/{patient}/shares", staff(self.create)),
            web.get("/shares", staff(self.list_shares)),
            web.get("/shares/{share}/link", staff(self.show_link)),
            web.get("/shares/{share}/link-sheet.pdf", staff(self.give_link_sheet)),
            web.post("/shares/{share}/link-printed", staff(self.confirm_link)),
            web.get("/shares/{share}/pin", staff(self.show_pin)),
            web.get("/shares/{share}/pin-slip.pdf", staff(self.give_pin_slip)),
            web.post("/shares/{share}/pin-printed", staff(self.confirm_pin)),
            web.get("/shares/{share}/revoke", staff(self.show_revoke)),
            web.post("/shares/{share}/revoke", staff(self.revoke)),
        ]

    async def create(self, visit: Visit) -> web.StreamResponse:
        """Share the ticked documents of a patient."""
        patient = fields.identifier(visit.part("patient"), "patient")
        ticked = list(dict.fromkeys(visit.form.getall("documents", [])))
        try:
            documents = _checked_documents(ticked)
            days = fields.valid_days(visit.form.get("valid_days", DEFAULT_DAYS))
            made = await self._records.ask(
                CreateShare(session=visit.token, patient=patient, documents=documents, valid_days=days)
            )
        except PraxisError as error:
            if error.family == "Refused":
                raise
            return await patient_page(self._desk, visit, patient, error=error)
        try:
            self._desk.links.keep(visit.token, made.share, made.link, patient, made.expires_at, self._desk.now())
        except PraxisError as error:
            await self._records.ask(RevokeShare(session=visit.token, share=made.share))
            return await patient_page(self._desk, visit, patient, error=error)
        return see_other(f"/shares/{made.share}/link")

    async def list_shares(self, visit: Visit) -> web.StreamResponse:
        """List the live shares, or with `?ended=yes` those that ended."""
        ended = visit.request.query.get("ended") == "yes"
        after = min(fields.position(visit.request.query, "after") or 0, MAX_AFTER)
        listed, others = await asyncio.gather(
            self._records.ask(ListShares(session=visit.token, ended=ended, after=after, count=PAGE_COUNT)),
            self._records.ask(ListShares(session=visit.token, ended=not ended, count=1)),
        )
        next_after = after + len(listed.shares)
        earlier = await self._records.ask(ListEarlierShares(session=visit.token))
        return self._desk.pages.show(
            visit,
            "shares.html",
            shares=listed.shares,
            ended=ended,
            others=others.total,
            earlier=len(earlier.shares),
            after=after,
            more_after=next_after if listed.shares and next_after < listed.total else 0,
        )

    async def show_link(self, visit: Visit) -> web.StreamResponse:
        """Show the link and its QR code, until the sheet is printed."""
        share, pending = self._pending(visit)
        squares = qr_squares(pending.link)
        return self._desk.pages.show(
            visit,
            "share_link.html",
            share=share,
            link=pending.link,
            squares=squares,
            patient=pending.patient,
            expires=visit.texts.day(pending.expires_at),
        )

    async def give_link_sheet(self, visit: Visit) -> web.StreamResponse:
        """Give the link sheet as PDF, in the language the patient reads."""
        _, pending = self._pending(visit)
        texts, box = self._desk.pages.texts[sheet_language(visit)], await self._desk.box()
        key = await read_key_print(self._desk)
        sheet = LinkSheet(
            practice_name=box.practice_name,
            telephone=box.telephone,
            link=pending.link,
            host=box.page_host,
            expires=texts.day(pending.expires_at),
            key_words=key.words if key else "",
            key_digits=key.digits if key else "",
        )
        return give_pdf(await asyncio.to_thread(draw_link_sheet, sheet, texts), texts("sheet.file"))

    async def confirm_link(self, visit: Visit) -> web.StreamResponse:
        """The sheet is printed: forget the link, go on to the PIN."""
        share = fields.identifier(visit.part("share"), "share")
        self._desk.links.forget(visit.token, share)
        return see_other(f"/shares/{share}/pin")

    async def show_pin(self, visit: Visit) -> web.StreamResponse:
        """Show the PIN, until the slip is printed; never while the link waits."""
        share = fields.identifier(visit.part("share"), "share")
        if self._desk.links.waits(visit.token, share, self._desk.now()):
            return see_other(f"/shares/{share}/link")
        found = await self._find(visit, share)
        made = await self._vault.ask(ReadPin(session=visit.token, share=share))
        return self._desk.pages.show(visit, "share_pin.html", share=share, pin=made.pin, patient=found.patient)

    async def give_pin_slip(self, visit: Visit) -> web.StreamResponse:
        """Give the PIN slip as PDF."""
        share = fields.identifier(visit.part("share"), "share")
        if self._desk.links.waits(visit.token, share, self._desk.now()):
            return see_other(f"/shares/{share}/link")
        made = await self._vault.ask(ReadPin(session=visit.token, share=share))
        texts, box = self._desk.pages.texts[sheet_language(visit)], await self._desk.box()
        slip = PinSlip(practice_name=box.practice_name, telephone=box.telephone, pin=made.pin)
        return give_pdf(await asyncio.to_thread(draw_pin_slip, slip, texts), texts("slip.file"))

    async def confirm_pin(self, visit: Visit) -> web.StreamResponse:
        """The slip is printed: vault forgets the PIN."""
        share = fields.identifier(visit.part("share"), "share")
        await self._vault.ask(ConfirmPin(session=visit.token, share=share))
        if self._desk.links.printed(visit.token, share):
            return see_other("/shares/earlier/print?done=share_made")
        return see_other(f"/patients/{(await self._find(visit, share)).patient}?done=share_made")

    async def show_revoke(self, visit: Visit) -> web.StreamResponse:
        """Ask before a share is ended."""
        share, t = await self._find(visit, fields.identifier(visit.part("share"), "share")), visit.texts
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="shares",
            title=t("share.revoke.title"),
            subject=share.patient_name,
            facts=[
                *share.titles,
                t("share.expires", date=t.day(share.expires_at)),
                t.count("share.opened", share.opened) if share.opened else t("share.not_opened"),
            ],
            warning=t("share.revoke.warning"),
            action=f"/shares/{share.share}/revoke",
            button=t("share.revoke.button"),
            back="/shares",
        )

    async def revoke(self, visit: Visit) -> web.StreamResponse:
        """End a share."""
        share = fields.identifier(visit.part("share"), "share")
        await self._records.ask(RevokeShare(session=visit.token, share=share))
        self._desk.links.forget_share(share)
        return see_other("/shares?done=share_revoked")

    def _pending(self, visit: Visit) -> tuple[str, PendingLink]:
        share = fields.identifier(visit.part("share"), "share")
        return share, self._desk.links.show(visit.token, share, self._desk.now())

    async def _find(self, visit: Visit, share: str) -> Share:
        found = (await self._records.ask(ListShares(session=visit.token, share=share))).shares
        if not found:
            raise NotFound("share")
        return found[0]


def _checked_documents(ticked: list[str]) -> list[str]:
    if not ticked:
        raise Invalid("nothing_ticked")
    if len(ticked) > MAX_SHARE_DOCUMENTS:
        raise Invalid("ticked_many", limit=MAX_SHARE_DOCUMENTS)
    return [fields.identifier(document, "document") for document in ticked]


def sheet_language(visit: Visit) -> str:
    """Give the language the sheet is asked for in."""
    wanted = visit.request.query.get("language", "")
    return wanted if wanted in LANGUAGES else visit.texts.language


def give_pdf(content: bytes, file_name: str) -> web.Response:
    """Answer with a paper, to be shown and printed."""
    answer = web.Response(body=content, content_type="application/pdf")
    answer.headers["Content-Security-Policy"] = PDF_POLICY
    answer.headers["Content-Disposition"] = content_disposition("inline", file_name)
    return answer
