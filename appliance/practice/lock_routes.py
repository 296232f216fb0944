"""Locking the box now, and choosing how it is opened again; paired computers.

A secret goes from vault into this browser's cookie and onto no page; the spare code is in the one answer to the form
that made it, and a choice counts when its end was typed back from the paper. Without the emergency sheets the box can
only open by itself: who then loses the paired computers would lose everything.
"""

from __future__ import annotations

from typing import cast

from aiohttp import web

from appliance.contracts.vault import (
    AcceptUnlocking,
    ChooseUnlocking,
    Computer,
    DescribeKit,
    DescribeUnlocking,
    Lock,
    PairComputer,
    RemoveComputer,
    Unlocking,
    UnlockWay,
)
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused
from appliance.practice import fields
from appliance.practice.account_routes import is_session
from appliance.practice.computer_cookie import keep_secret
from appliance.practice.desk import Desk
from appliance.practice.visit import Visit, clear_session, see_other

WAYS = ("itself", "pin", "computer")


class LockRoutes:
    """Pages about the lock."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._vault = desk.peers.vault

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/lock", staff(self.show_lock)),
            web.post("/lock", staff(self.lock)),
            web.get("/unlocking", staff(self.show_unlocking)),
            web.post("/unlocking", staff(self.choose)),
            web.post("/unlocking/accept", staff(self.accept)),
            web.post("/unlocking/pair", staff(self.pair)),
            web.get("/unlocking/{computer}/remove", staff(self.show_remove)),
            web.post("/unlocking/{computer}/remove", staff(self.remove)),
        ]

    async def show_lock(self, visit: Visit) -> web.StreamResponse:
        """Say what locking does and how the box is opened again; one button."""
        unlocking = await self._unlocking(visit)
        return self._desk.pages.show(visit, "lock.html", way=unlocking.way)

    async def lock(self, visit: Visit) -> web.StreamResponse:
        """Lock now. This process ends a moment later, and the browser finds the page of the locked box."""
        await self._vault.ask(Lock(session=visit.token))
        self._desk.guard.is_locked = True
        answer = see_other("/")
        clear_session(answer)
        return answer

    async def show_unlocking(self, visit: Visit) -> web.StreamResponse:
        """Show the ways, what each protects against, and the paired computers."""
        return await self._page(visit)

    async def choose(self, visit: Visit) -> web.StreamResponse:
        """Choose a way; the spare code is shown once, and its end asked back."""
        try:
            way = visit.form.get("way", "")
            if way not in WAYS:
                raise Invalid("unlock_way", field="way")
            if way != "itself" and not await self._has_kit(visit):
                raise Refused("unlocking_needs_kit", field="way")
            label = fields.name(visit.form, "label") if way != "itself" else "-"
            pin = fields.new_unlock_pin(visit.form) if way == "pin" else None
            made = await self._vault.ask(
                ChooseUnlocking(
                    session=visit.token,
                    password=fields.password(visit.form),
                    way=cast(UnlockWay, way),
                    label=label,
                    pin=pin,
                )
            )
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        if not made.spare:
            return see_other("/unlocking?done=unlocking_chosen")
        return self._desk.pages.show(visit, "spare_code.html", spare=made.spare, way=way)

    async def accept(self, visit: Visit) -> web.StreamResponse:
        """Have the choice count; the browser that asks is paired."""
        try:
            made = await self._vault.ask(AcceptUnlocking(session=visit.token, code=fields.code(visit.form)))
        except NotFound as error:
            return await self._page(visit, error)
        except PraxisError as error:
            if is_session(error):
                raise
            return self._desk.pages.show(visit, "spare_code.html", error=error, spare="", way="")
        answer = see_other("/unlocking?done=unlocking_chosen")
        keep_secret(answer, made.secret)
        return answer

    async def pair(self, visit: Visit) -> web.StreamResponse:
        """Pair the browser that asks."""
        try:
            label, password = fields.name(visit.form, "pair_label"), fields.password(visit.form)
            made = await self._vault.ask(PairComputer(session=visit.token, password=password, label=label))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        answer = see_other("/unlocking?done=computer_paired")
        keep_secret(answer, made.secret)
        return answer

    async def show_remove(self, visit: Visit) -> web.StreamResponse:
        """Ask before a pairing ends."""
        computer, t = await self._computer(visit), visit.texts
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="practice",
            title=t("unlocking.remove.title"),
            subject=computer.label or t("unlocking.spare"),
            facts=[],
            warning=t("unlocking.remove.warning"),
            action=f"/unlocking/{computer.computer}/remove",
            button=t("unlocking.remove.button"),
            back="/unlocking",
        )

    async def remove(self, visit: Visit) -> web.StreamResponse:
        """End a pairing."""
        computer = fields.identifier(visit.part("computer"), "computer")
        try:
            await self._vault.ask(RemoveComputer(session=visit.token, computer=computer))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._page(visit, error)
        return see_other("/unlocking?done=computer_removed")

    async def _unlocking(self, visit: Visit) -> Unlocking:
        return await self._vault.ask(DescribeUnlocking(session=visit.token))

    async def _has_kit(self, visit: Visit) -> bool:
        return bool((await self._vault.ask(DescribeKit(session=visit.token))).name)

    async def _page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        unlocking, has_kit = await self._unlocking(visit), await self._has_kit(visit)
        return self._desk.pages.show(
            visit,
            "unlocking.html",
            error=error,
            way=unlocking.way,
            ways=WAYS if has_kit else ("itself",),
            has_kit=has_kit,
            chosen=visit.form.get("way", unlocking.way),
            computers=unlocking.computers,
        )

    async def _computer(self, visit: Visit) -> Computer:
        wanted = fields.identifier(visit.part("computer"), "computer")
        for computer in (await self._unlocking(visit)).computers:
            if computer.computer == wanted:
                return computer
        raise NotFound("computer")
