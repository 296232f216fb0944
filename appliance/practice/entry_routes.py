"""The door: claim, log in, accept an invitation, log out, the lock, the language, and the authority's certificate.

A password goes to vault and is kept nowhere; a form that failed shows what was typed, never a password or code.
"""

from __future__ import annotations

import contextlib

from aiohttp import web

from appliance.contracts.vault import AcceptInvitation, Claim, LogIn, LogOut, NewSession
from appliance.core.errors import NotFound, PraxisError, Refused
from appliance.practice import fields
from appliance.practice.desk import Desk
from appliance.practice.language import COOKIE as LANGUAGE_COOKIE
from appliance.practice.language import LANGUAGES
from appliance.practice.visit import Visit, clear_session, see_other, set_session

LANGUAGE_KEPT_S = 400 * 86400  # the longest browsers keep (RFC 6265bis 5.5)
REASONS = ("locked", "unsaved", "left")


class EntryRoutes:
    """Pages for people who are not logged in yet."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        everyone, staff = self._desk.guard.everyone, self._desk.guard.staff
        return [
            web.get("/", everyone(self.show_start)),
            web.get("/claim", everyone(self.show_claim)),
            web.post("/claim", everyone(self.claim)),
            web.get("/login", everyone(self.show_login)),
            web.post("/login", everyone(self.log_in)),
            web.get("/invitation", everyone(self.show_invitation)),
            web.post("/invitation", everyone(self.accept_invitation)),
            web.post("/logout", staff(self.log_out)),
            web.get("/locked", everyone(self.show_locked)),
            web.get("/language/{language}", everyone(self.choose_language)),
            web.get("/lan-ca.crt", everyone(self.give_authority)),
        ]

    async def show_start(self, visit: Visit) -> web.StreamResponse:
        """Send the reader to the first page that makes sense."""
        try:
            await self._desk.guard.identify(visit)
        except Refused:
            return see_other("/login" if (await self._desk.box()).claimed else "/claim")
        return see_other("/patients")

    async def show_claim(self, visit: Visit) -> web.StreamResponse:
        """Show the form of the first visit."""
        if (await self._desk.box()).claimed:
            return see_other("/login")
        return self._desk.pages.show(visit, "claim.html")

    async def claim(self, visit: Visit) -> web.StreamResponse:
        """Make the first member of staff."""
        form = visit.form
        try:
            made = await self._desk.peers.vault.ask(
                Claim(
                    code=fields.code(form),
                    practice_name=fields.name(form, "practice_name"),
                    telephone=fields.telephone(form),
                    name=fields.name(form, "name"),
                    password=fields.new_password(form),
                )
            )
        except PraxisError as error:
            return self._desk.pages.show(visit, "claim.html", error=error)
        with contextlib.suppress(PraxisError):  # only the names to show; asked again when they are needed
            await self._desk.box()
        return self._enter(made, "/patients?done=claimed")

    async def show_login(self, visit: Visit) -> web.StreamResponse:
        """Show the form to log in, saying why if the session ended by itself."""
        if not (await self._desk.box()).claimed:
            return see_other("/claim")
        query = visit.request.query
        return self._login_page(visit, query.get("next", "/"), query.get("why", ""))

    async def log_in(self, visit: Visit) -> web.StreamResponse:
        """Have vault check name and password."""
        back = visit.form.get("next", "/")
        try:
            name, password = fields.name(visit.form, "name"), fields.password(visit.form)
            made = await self._desk.peers.vault.ask(LogIn(name=name, password=password))
        except PraxisError as error:
            return self._login_page(visit, back, "", error)
        return self._enter(made, fields.local_path(back))

    async def show_invitation(self, visit: Visit) -> web.StreamResponse:
        """Show the form for a one-time code."""
        return self._desk.pages.show(visit, "invitation.html")

    async def accept_invitation(self, visit: Visit) -> web.StreamResponse:
        """Make the invited person a member of staff."""
        try:
            code, password = fields.code(visit.form), fields.new_password(visit.form)
            made = await self._desk.peers.vault.ask(AcceptInvitation(code=code, password=password))
        except PraxisError as error:
            return self._desk.pages.show(visit, "invitation.html", error=error)
        return self._enter(made, "/patients?done=joined")

    async def log_out(self, visit: Visit) -> web.StreamResponse:
        """End the session."""
        self._desk.links.forget_session(visit.token)
        self._desk.kits.forget_session(visit.token)
        await self._desk.peers.vault.ask(LogOut(session=visit.token))
        answer = see_other("/login?why=left")
        clear_session(answer)
        return answer

    async def show_locked(self, visit: Visit) -> web.StreamResponse:
        """Lead away from a page that was left open; back to it while the session lives (another window used it)."""
        back = fields.local_path(visit.request.query.get("next", "/"))
        try:
            await self._desk.guard.identify(visit, touch=False)
        except Refused:
            answer = see_other(f"/login?why=locked&next={back}")
            clear_session(answer)
            return answer
        return see_other(back)

    async def choose_language(self, visit: Visit) -> web.StreamResponse:
        """Remember the language in this browser."""
        language = visit.part("language")
        if language not in LANGUAGES:
            raise NotFound("page")
        answer = see_other(fields.local_path(visit.request.query.get("next", "/")))
        answer.set_cookie(
            LANGUAGE_COOKIE,
            language,
            max_age=LANGUAGE_KEPT_S,
            path="/",
            secure=True,
            httponly=True,
            samesite="Strict",
        )
        return answer

    async def give_authority(self, _: Visit) -> web.StreamResponse:
        """Give the authority's certificate, to be trusted on a practice computer once compared."""
        answer = web.Response(
            body=self._desk.certificate.authority.read_bytes(), content_type="application/x-x509-ca-cert"
        )
        answer.headers["Content-Disposition"] = 'attachment; filename="praxissafe-lan-ca.crt"'
        return answer

    def _login_page(self, visit: Visit, back: str, why: str, error: PraxisError | None = None) -> web.StreamResponse:
        return self._desk.pages.show(
            visit, "login.html", error=error, next=fields.local_path(back), why=why if why in REASONS else ""
        )

    def _enter(self, made: NewSession, path: str) -> web.StreamResponse:
        answer = see_other(path)
        set_session(answer, made.session)
        return answer
