"""The recovery kit: make one and print its three sheets, one after the other; check a sheet; see how it stands.

Rules: making one needs the password again; a sheet's words are in its own PDF and in no page, until two of them were
typed back from the paper; then they are gone. A check asks for three words of a sheet, always the same.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from appliance.contracts.vault import AcceptKitSheet, CheckKitSheet, DescribeKit, KitState, MakeKit
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused
from appliance.practice import fields
from appliance.practice.account_routes import is_session
from appliance.practice.desk import Desk
from appliance.practice.kit_paper import KitSheet, draw_kit_sheet
from appliance.practice.pending_kits import KEPT_S, PendingKit
from appliance.practice.share_routes import give_pdf, sheet_language
from appliance.practice.visit import Visit, see_other

MAX_WORD_CHARACTERS = 64


class KitRoutes:
    """Pages about the recovery kit."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._vault = desk.peers.vault

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/kit", staff(self.show_kit)),
            web.post("/kit/new", staff(self.make)),
            web.get("/kit/check", staff(self.show_check)),
            web.post("/kit/check", staff(self.check)),
            web.get("/kit/{kit}/print", staff(self.show_print)),
            web.post("/kit/{kit}/print", staff(self.confirm)),
            web.get("/kit/{kit}/sheet.pdf", staff(self.give_sheet)),
        ]

    async def show_kit(self, visit: Visit) -> web.StreamResponse:
        """Show how it stands with the kit."""
        return await self._kit_page(visit)

    async def make(self, visit: Visit) -> web.StreamResponse:
        """Make a kit; its first sheet is printed next."""
        try:
            made = await self._vault.ask(
                MakeKit(session=visit.token, password=fields.password(visit.form, "password"))
            )
        except PraxisError as error:
            if is_session(error):
                raise
            if error.code == "login":
                error = Refused("own_password", field="password")
            return await self._kit_page(visit, error)
        now = self._desk.now()
        sheets = dict(enumerate(made.sheets, start=1))
        pending = PendingKit(made.kit, made.name, made.asked, made.checked, now + KEPT_S, sheets)
        self._desk.kits.keep(visit.token, pending, now)
        return see_other(f"/kit/{made.kit}/print")

    async def show_print(self, visit: Visit) -> web.StreamResponse:
        """Show the step of the next sheet that is not confirmed."""
        return self._print_page(visit, self._pending(visit))

    async def give_sheet(self, visit: Visit) -> web.StreamResponse:
        """Give the next sheet that is not confirmed as PDF."""
        pending, texts = self._pending(visit), self._desk.pages.texts[sheet_language(visit)]
        number = min(pending.sheets)
        sheet = KitSheet(
            practice_name=(await self._desk.box()).practice_name,
            number=number,
            name=pending.name,
            words=pending.sheets[number],
            checked=pending.checked,
            made=texts.day(int(pending.forget_at - KEPT_S)),
        )
        return give_pdf(await asyncio.to_thread(draw_kit_sheet, sheet, texts), texts("kit_paper.file", number=number))

    async def confirm(self, visit: Visit) -> web.StreamResponse:
        """Hear two words of the printed sheet; then it is gone here."""
        pending = self._pending(visit)
        number = min(pending.sheets)
        try:
            words = _typed_words(visit, pending.asked)
            heard = await self._vault.ask(
                AcceptKitSheet(session=visit.token, kit=pending.kit, sheet=number, words=words)
            )
        except PraxisError as error:
            if is_session(error) or isinstance(error, NotFound):
                raise
            return self._print_page(visit, pending, error)
        self._desk.kits.confirm(visit.token, pending.kit, heard.sheets_left)
        return see_other(f"/kit/{pending.kit}/print" if heard.sheets_left else "/kit?done=kit_made")

    async def show_check(self, visit: Visit) -> web.StreamResponse:
        """Ask for three words of a sheet."""
        return await self._check_page(visit)

    async def check(self, visit: Visit) -> web.StreamResponse:
        """Check three words of a sheet."""
        state = await self._state(visit)
        try:
            number = fields.position(visit.form, "sheet") or 0
            if not 1 <= number <= len(state.checked_at):
                raise Invalid("kit_which_sheet", field="sheet")
            words = _typed_words(visit, state.checked)
            await self._vault.ask(CheckKitSheet(session=visit.token, sheet=number, words=words))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._check_page(visit, error)
        return see_other("/kit?done=kit_sheet_checked")

    async def _state(self, visit: Visit) -> KitState:
        return await self._vault.ask(DescribeKit(session=visit.token))

    async def _kit_page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        return self._desk.pages.show(visit, "kit.html", error=error, kit=await self._state(visit))

    async def _check_page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        state = await self._state(visit)
        if not state.name:
            return see_other("/kit")
        return self._desk.pages.show(visit, "kit_check.html", error=error, kit=state)

    def _print_page(self, visit: Visit, pending: PendingKit, error: PraxisError | None = None) -> web.StreamResponse:
        return self._desk.pages.show(
            visit, "kit_print.html", error=error, kit=pending.kit, number=min(pending.sheets), asked=pending.asked
        )

    def _pending(self, visit: Visit) -> PendingKit:
        kit = fields.identifier(visit.part("kit"), "kit")
        return self._desk.kits.show(visit.token, kit, self._desk.now())


def _typed_words(visit: Visit, places: list[int]) -> list[str]:
    words = []
    for place in places:
        word = fields.clean(visit.form.get(f"word_{place}", ""))[:MAX_WORD_CHARACTERS]
        if not word:
            raise Invalid("field_empty", field=f"word_{place}")
        words.append(word)
    return words
