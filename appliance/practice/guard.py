"""Stands before every page: host, origin, session, CSRF token; and turns every failure into a page.

Rules (docs/threats.md, A24): a foreign Host gets one constant answer (DNS rebinding); a POST must come from our own
page by Fetch metadata or Origin, and, in a session, carry that session's token; a device's token opens no page; a bug
ends the process. Sources: RFC 9110 7.2 and 15.5.20, Fetch Metadata Request Headers (W3C), RFC 6454 7.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import re
from collections.abc import Awaitable, Callable

from aiohttp import web
from multidict import MultiDict

from appliance.contracts.vault import Box, CheckSession
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Unavailable
from appliance.core.journal import say
from appliance.core.metrics import Counter
from appliance.practice import headers
from appliance.practice.fields import local_path
from appliance.practice.language import COOKIE as LANGUAGE_COOKIE
from appliance.practice.language import choose
from appliance.practice.pages import Pages
from appliance.practice.peers import Peers
from appliance.practice.pending_kits import PendingKits
from appliance.practice.pending_links import PendingLinks
from appliance.practice.visit import COOKIE, Visit, clear_session, see_other

MAX_FORM_BYTES = 64 * 1024
MAX_FORM_FIELDS = 300
FORM_TIMEOUT_S = 20.0
FOREIGN_HOST = b"This address is not one of this box.\n"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,128}\Z")

_pages = Counter("staff_pages_total", "Pages by how they were answered.", ["shown", "refused", "failed"])
_refusals = Counter("staff_refusals_total", "Requests refused before a page saw them.", ["host", "origin", "csrf"])

Page = Callable[[Visit], Awaitable[web.StreamResponse]]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host:
    """Where staff reach this box: its name on the practice network, with and without the port."""

    def __init__(self, box: Box) -> None:
        self._names = {box.lan_host, f"{box.lan_host}:{box.lan_port}"}

    def accepts(self, request: web.BaseRequest) -> bool:
        """Check the one Host header."""
        sent = request.headers.getall("Host", [])
        return len(sent) == 1 and sent[0].lower() in self._names


def is_own_page(request: web.BaseRequest) -> bool:
    """Check that a form was sent by a page of ours.

    Browsers say so in Sec-Fetch-Site; with `no-referrer` they send Origin as "null" (Fetch, "append a request Origin
    header"), so that counts only beside it. A client without Sec-Fetch-Site must send our Origin.
    """
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    is_ours = origin is not None and origin.lower() == f"https://{request.headers.get('Host', '').lower()}"
    if site is None:
        return is_ours
    return site == "same-origin" and (is_ours or origin in {None, "null"})


class Guard:
    """Wraps every page; `bug` fails when answering met a failure nobody foresaw."""

    def __init__(self, host: Host, peers: Peers, pages: Pages, links: PendingLinks, kits: PendingKits) -> None:
        self._host = host
        self._peers = peers
        self._pages = pages
        self._links = links
        #: The box was locked: from now on every page says so, until this process ends in a moment.
        self.is_locked = False
        self._kits = kits
        self.bug: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def everyone(self, page: Page) -> Answer:
        """Wrap a page that needs no session."""

        async def answer(request: web.Request) -> web.StreamResponse:
            visit = self.visit(request)
            try:
                if request.method == "POST":
                    visit.form = await read_form(request)
                return self._count(await page(visit))
            except PraxisError as error:
                return self._failed(visit, error)

        return answer

    def staff(self, page: Page, *, reads_form: bool = True, touch: bool = True) -> Answer:
        """Wrap a page for staff; with `reads_form=False` the page reads its upload and checks the token itself.

        With `touch=False` for a page that loads itself again: nobody is at the desk for that.
        """

        async def answer(request: web.Request) -> web.StreamResponse:
            visit = self.visit(request)
            try:
                await self.identify(visit, touch=touch)
                if request.method == "POST" and reads_form:
                    visit.form = await read_form(request)
                    check_csrf(visit, visit.form.get("csrf", ""))
                return self._count(await page(visit))
            except PraxisError as error:
                return self._failed(visit, error)

        return answer

    def visit(self, request: web.Request) -> Visit:
        """Begin a visit: its language."""
        language = choose(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", ""))
        return Visit(request, self._pages.texts[language])

    async def identify(self, visit: Visit, *, touch: bool = True) -> None:
        """Have vault say whose session this is; Refused("session") if there is none, or it is a device's."""
        token = visit.request.cookies.get(COOKIE, "")
        if not _TOKEN.match(token):
            raise Refused("session")
        try:
            session = await self._peers.vault.ask(CheckSession(session=token, touch=touch))
        except Refused:
            self._links.forget_session(token)
            self._kits.forget_session(token)
            raise
        if session.kind != "staff" or not session.csrf:
            raise Refused("session")
        visit.token, visit.session = token, session

    @web.middleware
    async def watch(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """Check host and origin of every request; answer what no page answers."""
        if not self._host.accepts(request):
            _refusals.add("host")
            return web.Response(status=421, body=FOREIGN_HOST, content_type="text/plain")
        try:
            if request.method == "POST" and not is_own_page(request):
                _refusals.add("origin")
                return self._failed(self.visit(request), Refused("origin"))
            if self.is_locked and not request.path.startswith("/static/"):
                return self._failed(self.visit(request), Unavailable("locked"))
            return await handler(request)
        except web.HTTPException as error:  # no such page, or not by this method
            if error.status == 405:
                answer = self._failed(await self._known(request), Invalid("method"))
                answer.headers["Allow"] = error.headers["Allow"]  # RFC 9110 15.5.6
                return answer
            return self._failed(await self._known(request), NotFound("page"))
        except ConnectionError:  # the browser left; there is nobody to tell
            raise
        except web.RequestPayloadError:  # a body that is no HTTP
            return web.Response(status=400)
        except Exception as error:
            if not self.bug.done():
                self.bug.set_exception(error)
            raise

    async def _known(self, request: web.Request) -> Visit:
        """Begin a visit to an address without a page; whoever is logged in keeps the navigation."""
        visit = self.visit(request)
        with contextlib.suppress(PraxisError):
            await self.identify(visit, touch=False)
        return visit

    def _count(self, answer: web.StreamResponse) -> web.StreamResponse:
        _pages.add("shown" if answer.status < 400 else "refused")
        return answer

    def _failed(self, visit: Visit, error: PraxisError) -> web.StreamResponse:
        if isinstance(error, Refused) and error.code == "session":
            return self._ask_to_log_in(visit)
        if error.code == "csrf":
            _refusals.add("csrf")
        if error.family == "Tampered":
            say("tampered", priority="alert")
        _pages.add("failed")
        return self._pages.fail(visit, error)

    def _ask_to_log_in(self, visit: Visit) -> web.StreamResponse:
        request = visit.request
        back = local_path(request.path) if request.method == "GET" else "/"
        why = "" if COOKIE not in request.cookies else "why=locked&" if request.method == "GET" else "why=unsaved&"
        answer = see_other(f"/login?{why}next={back}")
        if COOKIE in request.cookies:
            clear_session(answer)
        return answer


def check_csrf(visit: Visit, token: str) -> None:
    """Check the form's token against the session's; Refused("csrf")."""
    if not visit.csrf or not hmac.compare_digest(visit.csrf.encode(), token.encode("utf-8", "replace")):
        raise Refused("csrf")


async def read_form(request: web.Request) -> MultiDict[str]:
    """Read a small form (application/x-www-form-urlencoded), within its cap; Invalid("form")."""
    if request.content_type != "application/x-www-form-urlencoded" or (request.charset or "utf-8").lower() != "utf-8":
        raise Invalid("form")
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            sent = await request.post()
    except (web.HTTPException, ValueError, LookupError, TimeoutError) as error:
        raise Invalid("form") from error
    fields = [(name, value) for name, value in sent.items() if isinstance(value, str)]
    if any("\ud800" <= letter <= "\udfff" for _, value in fields for letter in value):
        raise Invalid("characters")
    return MultiDict(fields)


async def add_headers(_: web.Request, answer: web.StreamResponse) -> None:
    """Give every answer its headers, unless its page has set a stricter or other one."""
    for name, value in headers.EVERY_ANSWER.items():
        answer.headers.setdefault(name, value)
    answer.headers["Server"] = headers.EVERY_ANSWER["Server"]
