"""The pages of the factory reset: prove the right, hold the button, type a word.

Rules: the same pages stand beside those of an open, a locked and a shut box, and know nothing of it. No session is
needed; the right and the button are vault's to check. A form counts only from a page of ours. What is typed goes to
vault and is kept nowhere; what vault gave for it is in the one form that follows.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from appliance.contracts.vault import BeginReset, FinishReset
from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.core.varlink import Peer, WatchedPeer
from appliance.practice import fields
from appliance.practice.guard import is_own_page, read_form
from appliance.practice.language import COOKIE as LANGUAGE_COOKIE
from appliance.practice.language import LANGUAGES, choose
from appliance.practice.pages import status_of, template_environment
from appliance.practice.texts import Texts, read_texts

RESET_PATH = "/reset"
FINISH_PATH = "/reset/finish"
MAX_SHEET_CHARACTERS = 1024
MAX_TICKET_CHARACTERS = 128
#: After these the right has to be proven anew.
FROM_THE_START = frozenset({"reset_ticket", "reset_nothing"})


class ResetPages:
    """The three pages."""

    def __init__(self, vault: Peer | WatchedPeer, texts: dict[str, Texts] | None = None) -> None:
        self._vault = vault
        self._texts = texts or read_texts()
        environment = template_environment()
        self._template = environment.get_template("reset.html")

    def table(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get(RESET_PATH, self.show),
            web.post(RESET_PATH, self.begin),
            web.post(FINISH_PATH, self.finish),
        ]

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Say what a reset does, and ask for the right."""
        return self._page(request, "right")

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """Have vault look at the code or the two sheets."""
        try:
            right = _right(await _own_form(request))
            begun = await self._vault.ask(right)
        except PraxisError as error:
            return self._page(request, "right", error)
        return self._page(request, "button", ticket=begun.ticket)

    async def finish(self, request: web.Request) -> web.StreamResponse:
        """Have vault reset the box, once the word was typed and the button held."""
        ticket = ""
        try:
            form = await _own_form(request)
            ticket = form.get("ticket", "")[:MAX_TICKET_CHARACTERS]
            typed = fields.clean(form.get("word", "")).casefold()
            if typed not in {texts("reset.word").casefold() for texts in self._texts.values()}:
                raise Invalid("reset_word", field="word")
            # Not given up with the browser that asked: vault ends right after it has answered.
            await asyncio.shield(self._vault.ask(FinishReset(ticket=ticket)))
        except PraxisError as error:
            step = "right" if not ticket or error.code in FROM_THE_START else "button"
            return self._page(request, step, error, ticket=ticket)
        return self._page(request, "begun")

    def _page(
        self, request: web.Request, step: str, error: PraxisError | None = None, *, ticket: str = ""
    ) -> web.StreamResponse:
        language = request.query.get("language", "")
        if language not in LANGUAGES:
            language = choose(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", ""))
        texts = self._texts[language]
        body = self._template.render(
            t=texts,
            language=language,
            other=next(one for one in LANGUAGES if one != language),
            step=step,
            ticket=ticket,
            error=texts.error(error) if error else None,
        )
        answer = web.Response(body=body.encode("utf-8", "replace"), content_type="text/html", charset="utf-8")
        if error:
            answer.set_status(status_of(error))
        answer.headers["Content-Language"] = language
        return answer


async def _own_form(request: web.Request) -> fields.Form:
    if not is_own_page(request):
        raise Refused("origin")
    return await read_form(request)


def _right(form: fields.Form) -> BeginReset:
    """Give what was typed: the code, or two sheets; Invalid("field_empty")."""
    sheets = [form.get(name, "").strip() for name in ("first", "second")]
    for name, sheet in zip(("first", "second"), sheets, strict=True):
        if len(sheet) > MAX_SHEET_CHARACTERS:
            raise Invalid("field_long", field=name, limit=MAX_SHEET_CHARACTERS)
    if not any(sheets):
        return BeginReset(code=fields.code(form))
    if fields.clean(form.get("code", "")):
        raise Invalid("reset_right", field="code")
    for name, sheet in zip(("first", "second"), sheets, strict=True):
        if not sheet:
            raise Invalid("field_empty", field=name)
    return BeginReset(first=sheets[0], second=sheets[1])
