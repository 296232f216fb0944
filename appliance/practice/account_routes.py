"""Who may use the box: members of staff, invitations, practice software's tokens, the own password.

A one-time code or token is in the one answer to the form that made it, and nowhere else.
"""

from __future__ import annotations

from aiohttp import web

from appliance.contracts.vault import (
    Accounts,
    ChangePassword,
    CreateDeviceToken,
    Device,
    InviteStaff,
    ListAccounts,
    RemoveStaff,
    RevokeDeviceToken,
    StaffMember,
)
from appliance.core.errors import NotFound, PraxisError, Refused
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.visit import Visit, see_other


class AccountRoutes:
    """Pages about staff and devices."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._vault = desk.peers.vault

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        staff = self._desk.guard.staff
        return [
            web.get("/staff", staff(self.show_staff)),
            web.post("/staff/invite", staff(self.invite)),
            web.get("/staff/{principal}/remove", staff(self.show_remove)),
            web.post("/staff/{principal}/remove", staff(self.remove)),
            web.get("/devices", staff(self.show_devices)),
            web.post("/devices/new", staff(self.create_device)),
            web.get("/devices/{principal}/revoke", staff(self.show_revoke)),
            web.post("/devices/{principal}/revoke", staff(self.revoke)),
            web.get("/password", staff(self.show_password)),
            web.post("/password", staff(self.change_password)),
        ]

    async def show_staff(self, visit: Visit) -> web.StreamResponse:
        """List members and invitations."""
        return await self._staff_page(visit)

    async def invite(self, visit: Visit) -> web.StreamResponse:
        """Invite a member of staff; shows the one-time code."""
        try:
            name = fields.name(visit.form, "name")
            made = await self._vault.ask(InviteStaff(session=visit.token, name=name))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._staff_page(visit, error)
        return self._desk.pages.show(
            visit,
            "invited.html",
            name=name,
            code=made.code,
            expires=visit.texts.day(made.expires_at),
            address=_address(visit),
        )

    async def show_remove(self, visit: Visit) -> web.StreamResponse:
        """Ask before a member or an invitation is removed."""
        member, t = await self._member(visit), visit.texts
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="practice",
            title=t("staff.remove.title"),
            subject=member.name,
            facts=[],
            warning=t("staff.remove.warning_invited" if member.invited else "staff.remove.warning"),
            action=f"/staff/{member.principal}/remove",
            button=t("staff.remove.button"),
            back="/staff",
        )

    async def remove(self, visit: Visit) -> web.StreamResponse:
        """Remove a member or an invitation."""
        principal = fields.identifier(visit.part("principal"), "staff")
        try:
            await self._vault.ask(RemoveStaff(session=visit.token, principal=principal))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._staff_page(visit, error)
        return see_other("/staff?done=staff_removed")

    async def show_devices(self, visit: Visit) -> web.StreamResponse:
        """List practice software's tokens."""
        return await self._device_page(visit)

    async def create_device(self, visit: Visit) -> web.StreamResponse:
        """Make a token; shows it once."""
        try:
            label = fields.name(visit.form, "label")
            made = await self._vault.ask(CreateDeviceToken(session=visit.token, label=label))
        except PraxisError as error:
            if is_session(error):
                raise
            return await self._device_page(visit, error)
        return self._desk.pages.show(
            visit, "device_made.html", label=label, token=made.token, address=_address(visit)
        )

    async def show_revoke(self, visit: Visit) -> web.StreamResponse:
        """Ask before a token is ended."""
        device, t = await self._device(visit), visit.texts
        return self._desk.pages.show(
            visit,
            "confirm.html",
            nav="practice",
            title=t("device.revoke.title"),
            subject=device.label,
            facts=[t("device.used", moment=t.moment(device.last_used_at))] if device.last_used_at else [],
            warning=t("device.revoke.warning"),
            action=f"/devices/{device.principal}/revoke",
            button=t("device.revoke.button"),
            back="/devices",
        )

    async def revoke(self, visit: Visit) -> web.StreamResponse:
        """End a token."""
        principal = fields.identifier(visit.part("principal"), "device")
        await self._vault.ask(RevokeDeviceToken(session=visit.token, principal=principal))
        return see_other("/devices?done=device_revoked")

    async def show_password(self, visit: Visit) -> web.StreamResponse:
        """Show the form for the own password."""
        return self._desk.pages.show(visit, "password.html")

    async def change_password(self, visit: Visit) -> web.StreamResponse:
        """Change the own password; vault ends the member's other sessions."""
        try:
            old = fields.password(visit.form, "old_password")
            new = fields.new_password(visit.form)
            await self._vault.ask(ChangePassword(session=visit.token, old_password=old, new_password=new))
        except PraxisError as error:
            if is_session(error):
                raise
            if error.code == "login":
                error = Refused("old_password", field="old_password")
            return self._desk.pages.show(visit, "password.html", error=error)
        return see_other("/password?done=password_changed")

    async def _accounts(self, visit: Visit) -> Accounts:
        return await self._vault.ask(ListAccounts(session=visit.token))

    async def _staff_page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        accounts = await self._accounts(visit)
        own = visit.session.principal if visit.session else ""
        return self._desk.pages.show(visit, "staff.html", error=error, staff=accounts.staff, own=own)

    async def _device_page(self, visit: Visit, error: PraxisError | None = None) -> web.StreamResponse:
        accounts = await self._accounts(visit)
        return self._desk.pages.show(
            visit, "devices.html", error=error, devices=accounts.devices, address=_address(visit)
        )

    async def _member(self, visit: Visit) -> StaffMember:
        principal = fields.identifier(visit.part("principal"), "staff")
        for member in (await self._accounts(visit)).staff:
            if member.principal == principal:
                return member
        raise NotFound("staff")

    async def _device(self, visit: Visit) -> Device:
        principal = fields.identifier(visit.part("principal"), "device")
        for device in (await self._accounts(visit)).devices:
            if device.principal == principal:
                return device
        raise NotFound("device")


def is_session(error: PraxisError) -> bool:
    """Say whether the session itself ended, which no form can show."""
    return isinstance(error, Refused) and error.code == "session"


def _address(visit: Visit) -> str:
    return f"https://{visit.request.host}"
