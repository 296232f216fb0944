"""The one page while the box is locked: what it waits for, and the form for it.

Rules: nothing of the box is known here; every address but those of the factory reset leads to this page, under the
certificate that the browsers know already. The secret of a paired computer and what is typed go to vault and are
kept nowhere. It ends when vault is not locked any more, and practice is started anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from aiohttp import web

from appliance.contracts.vault import DescribeOpening, ReadTries, Tries, UnlockByComputer, UnlockByPassword
from appliance.core.errors import Invalid, PraxisError, Refused, Unavailable
from appliance.core.varlink import Peer, WatchedPeer
from appliance.practice import fields
from appliance.practice.computer_cookie import UNLOCK_PATH, keep_secret, kept_secret
from appliance.practice.guard import FOREIGN_HOST, Answer, add_headers, is_own_page, read_form
from appliance.practice.lan_certificate import LanCertificate, host_of, stored_certificate
from appliance.practice.language import COOKIE as LANGUAGE_COOKIE
from appliance.practice.language import LANGUAGES, choose
from appliance.practice.pages import status_of, template_environment
from appliance.practice.reset_page import ResetPages
from appliance.practice.settings import PracticeSettings
from appliance.practice.shut_page import STATIC_FOLDER, serve_until
from appliance.practice.texts import read_texts
from appliance.practice.visit import see_other

ASK_AGAIN_S = 0.5
#: How long the last answer takes to leave.
ANSWERS_LEAVE_S = 0.3
MAX_FORM_BYTES = 4096
PASSWORD, PIN = "password", "pin"


async def show_locked_page(
    listener: socket.socket, settings: PracticeSettings, vault: Peer | WatchedPeer, waits_for: str
) -> None:
    """Serve the page until vault is not locked any more; Unavailable("locked") where there is no certificate yet."""
    certificate = stored_certificate(settings.state)
    if certificate is None:
        raise Unavailable("locked")
    page = LockedPage(vault, waits_for, host_of(certificate), certificate)
    await serve_until(listener, settings, certificate, page.application(), _while_locked(vault, waits_for))


async def _while_locked(vault: Peer | WatchedPeer, waits_for: str) -> None:
    while True:
        await asyncio.sleep(ASK_AGAIN_S)
        with contextlib.suppress(Unavailable):  # it is being started
            opening = await vault.ask(DescribeOpening())
            if opening.why != waits_for:
                await asyncio.sleep(ANSWERS_LEAVE_S)
                return


class LockedPage:
    """The page, for one thing that the box waits for."""

    def __init__(self, vault: Peer | WatchedPeer, waits_for: str, host: str, certificate: LanCertificate) -> None:
        self._vault = vault
        self._waits_for = waits_for
        self._host = host
        self._authority = certificate.authority.read_bytes()
        self._style = (STATIC_FOLDER / "style.css").read_bytes()
        self._texts = read_texts()
        environment = template_environment()
        self._template = environment.get_template("unlock.html")

    def application(self) -> web.Application:
        """Give the application."""
        application = web.Application(middlewares=[self._watch], client_max_size=MAX_FORM_BYTES)
        application.router.add_get("/static/style.css", self._give_style)
        application.router.add_get("/lan-ca.crt", self._give_authority)
        application.router.add_get(UNLOCK_PATH, self._show)
        application.router.add_post(UNLOCK_PATH, self._unlock)
        application.add_routes(ResetPages(self._vault, self._texts).table())
        application.router.add_route("*", "/{path:.*}", self._lead)
        application.on_response_prepare.append(add_headers)
        return application

    @web.middleware
    async def _watch(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        sent = request.headers.getall("Host", [])
        if len(sent) != 1 or sent[0].lower().partition(":")[0] != self._host:
            return web.Response(status=421, body=FOREIGN_HOST, content_type="text/plain")
        return await handler(request)

    async def _lead(self, request: web.Request) -> web.StreamResponse:
        """Lead people to the page; programs, and forms of before, are told to come later."""
        if request.method == "GET":
            return see_other(UNLOCK_PATH)
        return await self._page(request, Unavailable("locked"))

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return await self._page(request, None)

    async def _unlock(self, request: web.Request) -> web.StreamResponse:
        try:
            if not is_own_page(request):
                raise Refused("origin")
            secret = await self._ask(await read_form(request), kept_secret(request))
        except PraxisError as error:
            return await self._page(request, error)
        answer = see_other("/")
        if secret:
            keep_secret(answer, secret)
        return answer

    async def _ask(self, form: fields.Form, kept: str) -> str:
        """Have vault open the box; give the secret of a paired browser, to be kept for longer."""
        if self._waits_for == PASSWORD:
            await self._vault.ask(UnlockByPassword(name=fields.name(form, "name"), password=fields.password(form)))
            return ""
        pin = fields.unlock_pin(form) if self._waits_for == PIN else None
        typed = form.get("code", "").strip()
        if not typed and not kept:
            raise Invalid("field_empty", field="code")
        await self._vault.ask(UnlockByComputer(secret=fields.code(form) if typed else kept, pin=pin))
        return "" if typed else kept

    async def _page(self, request: web.Request, error: PraxisError | None) -> web.Response:
        language = request.query.get("language", "")
        if language not in LANGUAGES:
            language = choose(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", ""))
        texts, tries = self._texts[language], await self._tries()
        body = self._template.render(
            t=texts,
            language=language,
            other=next(one for one in LANGUAGES if one != language),
            waits_for=self._waits_for,
            paired=bool(kept_secret(request)) and (error is None or error.code != "computer"),
            error=texts.error(error) if error else None,
            tries=tries,
            minutes=_minutes(tries),
            form={},
        )
        answer = web.Response(body=body.encode("utf-8", "replace"), content_type="text/html", charset="utf-8")
        answer.set_status(status_of(error) if error else 503)
        answer.headers["Content-Language"] = texts.language
        answer.headers["Retry-After"] = "30"
        return answer

    async def _tries(self) -> Tries | None:
        if self._waits_for != PIN:
            return None
        try:
            return await self._vault.ask(ReadTries())
        except PraxisError:
            return None

    async def _give_style(self, _: web.Request) -> web.Response:
        return web.Response(body=self._style, content_type="text/css", charset="utf-8")

    async def _give_authority(self, _: web.Request) -> web.Response:
        return web.Response(body=self._authority, content_type="application/x-x509-ca-cert")


def _minutes(tries: Tries | None) -> int:
    return -(-tries.wait_s // 60) if tries else 0
