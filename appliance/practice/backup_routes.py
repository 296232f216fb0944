"""The backup as staff see it: how it stands, a copy now, where copies go.

If the process that makes the copies is away, the page says so and the rest of practice goes on. Secrets of a store
are typed in and never shown again.
"""

from __future__ import annotations

from aiohttp import web

from appliance.contracts.backup import (
    BackupState,
    DescribeBackup,
    ForgetStore,
    SetStore,
    StartBackup,
    StoreKind,
)
from appliance.contracts.vault import DescribeKit
from appliance.core.errors import PraxisError, Unavailable
from appliance.practice.account_routes import is_session
from appliance.practice.backup_standing import last_days, standing
from appliance.practice.desk import Desk
from appliance.practice.pages import AWAY
from appliance.practice.store_form import FIELDS, KINDS, OPTIONAL, read_store, store_kind
from appliance.practice.visit import Visit, see_other
from appliance.practice.watching import watch_on

#: A store over the network is tried, and a repository made there.
STORE_TIMEOUT_S = 120.0
#: So many generations are listed; the drawing shows the rest.
LISTED = 5


class BackupRoutes:
    """Pages about the backup."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._backup = desk.peers.backup

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/backup", staff(self.show)),
            web.get("/backup/progress", staff(self.show, touch=False)),
            web.post("/backup/start", staff(self.start)),
            web.get("/backup/store", staff(self.show_store)),
            web.post("/backup/store", staff(self.set_store)),
            web.get("/backup/forget", staff(self.show_forget)),
            web.post("/backup/forget", staff(self.forget)),
        ]

    async def show(self, visit: Visit) -> web.StreamResponse:
        """Show how it stands."""
        return await self._page(visit)

    async def start(self, visit: Visit) -> web.StreamResponse:
        """Begin a backup now."""
        try:
            await self._backup.ask(StartBackup(session=visit.token))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        return see_other("/backup")

    async def show_store(self, visit: Visit) -> web.StreamResponse:
        """Ask which kind of place, then what that kind needs."""
        kind = store_kind(visit.request.query.get("kind", ""))
        state = await described(self._desk, visit)
        return store_page(self._desk, visit, state, kind, base="/backup")

    async def set_store(self, visit: Visit) -> web.StreamResponse:
        """Have backup try the place and keep it."""
        try:
            store = read_store(visit.form)
            await self._backup.ask(SetStore(session=visit.token, store=store), timeout_s=STORE_TIMEOUT_S)
        except PraxisError as error:
            if is_session(error):
                raise
            state = await described(self._desk, visit)
            return store_page(
                self._desk, visit, state, store_kind(visit.form.get("kind", "")), base="/backup", error=error
            )
        return see_other("/backup?done=store_set")

    async def show_forget(self, visit: Visit) -> web.StreamResponse:
        """Ask before no more copies are made."""
        state, t = await described(self._desk, visit), visit.texts
        if state is None or state.store is None:
            return see_other("/backup")
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="practice",
            title=t("backup.forget.title"),
            subject=t(f"store.kind.{state.store.kind}"),
            facts=[state.store.place],
            warning=t("backup.forget.warning"),
            action="/backup/forget",
            button=t("backup.forget.button"),
            back="/backup",
        )

    async def forget(self, visit: Visit) -> web.StreamResponse:
        """Make no more copies."""
        try:
            await self._backup.ask(ForgetStore(session=visit.token))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        return see_other("/backup?done=store_forgotten")

    async def _page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        state = await described(self._desk, visit)
        kit = await self._desk.peers.vault.ask(DescribeKit(session=visit.token))
        now = self._desk.now()
        generations = sorted(state.generations, key=lambda one: -one.generation) if state else []
        days = last_days(generations, now)
        answer = self._desk.pages.show(
            visit,
            "backup.html",
            error=error,
            state=state,
            standing=standing(state, has_kit=bool(kit.name), now=now),
            failure=failure(visit, state.last_backup.code if state and state.last_backup else ""),
            generations=generations[:LISTED],
            older=max(0, len(generations) - LISTED),
            days=days,
            tested=sum(day.mark == "tested" for day in days),
        )
        is_moving = state is None or state.running is not None
        return watch_on(answer, visit, "/backup/progress") if is_moving and error is None else answer


async def described(desk: Desk, visit: Visit) -> BackupState | None:
    """Ask backup how it stands; None while it is away."""
    try:
        return await desk.peers.backup.ask(DescribeBackup(session=visit.token))
    except Unavailable as error:
        if error.code in AWAY:
            return None
        raise


def failure(visit: Visit, code: str) -> object:
    """Put the code that a backup or restore ended with in words; None if it ended well."""
    return visit.texts.error(Unavailable(code)) if code else None


def store_page(
    desk: Desk,
    visit: Visit,
    state: BackupState | None,
    kind: StoreKind | None,
    *,
    base: str,
    error: PraxisError | None = None,
) -> web.StreamResponse:
    """Make the page with the kinds, or with the fields of one; `base` is what it belongs to: /backup or /restore."""
    store = state.store if state else None
    known = store if store is not None and store.kind == kind else None
    return desk.pages.show(
        visit,
        "store.html",
        error=error,
        base=base,
        away=state is None,
        kinds_of_store=KINDS,
        kind=kind or "",
        chosen=store.kind if store else "",
        asked=FIELDS[kind] if kind else (),
        optional=OPTIONAL,
        known={"place": known.place, "user": known.user} if known else {},
        login_key=(store.login_key if store else "") or (state.login_key if state else ""),
    )
