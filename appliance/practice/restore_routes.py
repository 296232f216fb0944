"""Everything back onto a replacement box: two sheets, the place of the copies, which copy, and what comes after.

Rules: the words go to vault and are kept nowhere here, nor shown again on any page; a restore that was interrupted
goes on. Which page is shown follows from what vault, backup and records say (restore_step.py), not from memory.
"""

from __future__ import annotations

from aiohttp import web

from appliance.contracts.backup import AbandonRestore, BackupState, ReadGenerations, SetStore, StartRestore
from appliance.contracts.records import FindPatients, ListEarlierShares
from appliance.contracts.vault import BeginRestore, DescribeKit, EndRestore, KitState
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Unavailable
from appliance.practice import fields
from appliance.practice.account_routes import is_session
from appliance.practice.backup_routes import STORE_TIMEOUT_S, described, failure, store_page
from appliance.practice.desk import Desk
from appliance.practice.restore_step import Facts, Step, restore_step
from appliance.practice.store_form import read_store, store_kind
from appliance.practice.visit import Visit, see_other
from appliance.practice.watching import watch_on

MAX_SHEET_CHARACTERS = 4096
#: Giving up takes away all rows and files that came.
ABANDON_TIMEOUT_S = 120.0


class RestoreRoutes:
    """Pages about the way back."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._backup = desk.peers.backup
        self._vault = desk.peers.vault

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/restore", staff(self.show)),
            web.get("/restore/progress", staff(self.show, touch=False)),
            web.post("/restore/sheets", staff(self.read_sheets)),
            web.get("/restore/store", staff(self.show_store)),
            web.post("/restore/store", staff(self.set_store)),
            web.post("/restore/generations", staff(self.read_generations)),
            web.post("/restore/start", staff(self.start)),
            web.get("/restore/abandon", staff(self.show_abandon)),
            web.post("/restore/abandon", staff(self.abandon)),
        ]

    async def show(self, visit: Visit) -> web.StreamResponse:
        """Show the step that comes next."""
        return await self._page(visit)

    async def read_sheets(self, visit: Visit) -> web.StreamResponse:
        """Give the words of two sheets to vault."""
        try:
            call = BeginRestore(
                session=visit.token,
                first=_typed_sheet(visit, "first"),
                second=_typed_sheet(visit, "second"),
                password=fields.password(visit.form),
            )
            await self._vault.ask(call)
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, _about_field(error))
        return see_other("/restore")

    async def show_store(self, visit: Visit) -> web.StreamResponse:
        """Ask for another place."""
        kind = store_kind(visit.request.query.get("kind", ""))
        return store_page(self._desk, visit, await described(self._desk, visit), kind, base="/restore")

    async def set_store(self, visit: Visit) -> web.StreamResponse:
        """Open the place with what follows from the sheets, and see which copies lie there."""
        try:
            store = read_store(visit.form)
            await self._backup.ask(SetStore(session=visit.token, store=store, old=True), timeout_s=STORE_TIMEOUT_S)
            await self._backup.ask(ReadGenerations(session=visit.token), timeout_s=STORE_TIMEOUT_S)
        except PraxisError as error:
            if is_session(error):
                raise
            if error.code == "no_restore":
                return await self._page(visit, error)
            state, kind = await described(self._desk, visit), store_kind(visit.form.get("kind", ""))
            return store_page(self._desk, visit, state, kind, base="/restore", error=error)
        return see_other("/restore")

    async def read_generations(self, visit: Visit) -> web.StreamResponse:
        """Look again which copies lie there."""
        try:
            await self._backup.ask(ReadGenerations(session=visit.token), timeout_s=STORE_TIMEOUT_S)
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        return see_other("/restore")

    async def start(self, visit: Visit) -> web.StreamResponse:
        """Begin, or go on."""
        try:
            generation = fields.position(visit.form, "generation")
            if not generation:
                raise NotFound("generation", field="generation")
            await self._backup.ask(StartRestore(session=visit.token, generation=generation))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        return see_other("/restore")

    async def show_abandon(self, visit: Visit) -> web.StreamResponse:
        """Ask before everything that came is taken away again."""
        t = visit.texts
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="practice",
            title=t("restore.abandon.title"),
            subject=t("restore.title"),
            facts=[],
            warning=t("restore.abandon.warning"),
            action="/restore/abandon",
            button=t("restore.abandon.button"),
            back="/restore",
        )

    async def abandon(self, visit: Visit) -> web.StreamResponse:
        """Give up; the box is empty again and vault forgets the old keys."""
        try:
            await self._backup.ask(AbandonRestore(session=visit.token), timeout_s=ABANDON_TIMEOUT_S)
            await self._vault.ask(EndRestore())
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        return see_other("/restore?done=restore_abandoned")

    async def _page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        state = await described(self._desk, visit)
        kit = await self._vault.ask(DescribeKit(session=visit.token))
        facts = await self._facts(visit, state, kit)
        step = restore_step(facts)
        if step == "store" and error is None:
            return store_page(self._desk, visit, state, None, base="/restore")
        answer = self._desk.pages.show(
            visit,
            "restore.html",
            error=error,
            step=step,
            state=state,
            kit=kit,
            is_half=facts.is_half,
            failure=failure(visit, state.last_restore.code if state and state.last_restore else ""),
            generations=sorted(state.generations, key=lambda one: -one.generation) if state else [],
            shares=await self._shares_left(visit) if step == "done" else 0,
            is_unsaved=visit.request.query.get("why") == "unsaved",
        )
        return watch_on(answer, visit, "/restore/progress") if _moves(step) and error is None else answer

    async def _facts(self, visit: Visit, state: BackupState | None, kit: KitState) -> Facts:
        is_half = is_empty = False
        if state is None or state.running is None or state.running.work != "restore":
            try:
                found = await self._desk.peers.records.ask(FindPatients(session=visit.token, count=1))
                is_empty = not found.patients
            except Unavailable as error:
                if error.code != "restoring":
                    raise
                is_half = True
        return Facts(state, bool(kit.restoring_since), is_half, is_empty)

    async def _shares_left(self, visit: Visit) -> int:
        return len((await self._desk.peers.records.ask(ListEarlierShares(session=visit.token))).shares)


def _moves(step: Step) -> bool:
    return step in {"away", "running"}


def _typed_sheet(visit: Visit, name: str) -> str:
    """Give the words as they were typed; vault reads them, numbers and line breaks included."""
    text = visit.form.get(name, "")
    if not text.strip():
        raise Invalid("field_empty", field=name)
    if len(text) > MAX_SHEET_CHARACTERS:
        raise Invalid("field_long", field=name, limit=MAX_SHEET_CHARACTERS)
    return text


def _about_field(error: PraxisError) -> PraxisError:
    """Name the field that a failure of vault is about."""
    if error.code == "login":
        return Refused("own_password", field="password")
    sheet = error.details.get("sheet")
    if sheet in {1, 2}:
        return type(error)(error.code, **{**error.details, "field": "first" if sheet == 1 else "second"})
    return error
