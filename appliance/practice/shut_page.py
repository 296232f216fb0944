"""The one page while vault is shut: why, and what to do, in both languages.

Rules: nothing of the box is known here and nothing is asked for; the answer to every address is this page, under the
certificate that the browsers know already, save the factory reset's, which can be the way out. It ends when vault is
not shut any more, and practice is started anew.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Mapping
from pathlib import Path

from aiohttp import web

from appliance.contracts.vault import DescribeOpening
from appliance.core.accept import accept_connections
from appliance.core.errors import Unavailable
from appliance.core.varlink import Peer, WatchedPeer
from appliance.practice.connections import Connections
from appliance.practice.guard import add_headers
from appliance.practice.lan_certificate import LanCertificate, stored_certificate
from appliance.practice.language import LANGUAGES
from appliance.practice.pages import template_environment
from appliance.practice.reset_page import ResetPages
from appliance.practice.settings import PracticeSettings
from appliance.practice.texts import Texts, read_texts

STATIC_FOLDER = Path(__file__).parent / "static"
ASK_AGAIN_S = 2.0
RELOAD_S = 15
HANDSHAKES = 64
MAX_FORM_BYTES = 4096
OTHER = "other"


async def show_shut_page(
    listener: socket.socket, settings: PracticeSettings, vault: Peer | WatchedPeer, why: str
) -> None:
    """Answer every request with the page until vault is not shut any more.

    Unavailable("shut") where no browser knows this box yet, as there is no certificate.
    """
    certificate = stored_certificate(settings.state)
    if certificate is None:
        raise Unavailable("shut")
    await serve_until(listener, settings, certificate, shut_application(why, vault), _while_shut(vault, why))


async def serve_until(
    listener: socket.socket,
    settings: PracticeSettings,
    certificate: LanCertificate,
    application: web.Application,
    end: Awaitable[object],
) -> None:
    """Serve an application under the stored certificate until `end`."""
    context = certificate.context()
    connections = Connections(
        application, max_connections=settings.max_connections, idle_timeout_s=settings.idle_timeout_s
    )
    async with connections:
        accepting = asyncio.create_task(
            accept_connections(listener, connections.make_protocol, lambda: context, max_connections=HANDSHAKES)
        )
        try:
            await end
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)


def shut_application(why: str, vault: Peer | WatchedPeer) -> web.Application:
    """Give the application of one page and its style, and of the pages of a reset."""
    page = shut_page(why, read_texts())
    style = (STATIC_FOLDER / "style.css").read_bytes()

    async def give_page(_: web.Request) -> web.Response:
        answer = web.Response(status=503, body=page, content_type="text/html", charset="utf-8")
        answer.headers["Refresh"] = answer.headers["Retry-After"] = str(RELOAD_S)
        return answer

    async def give_style(_: web.Request) -> web.Response:
        return web.Response(body=style, content_type="text/css", charset="utf-8")

    application = web.Application(client_max_size=MAX_FORM_BYTES)
    application.router.add_get("/static/style.css", give_style)
    application.add_routes(ResetPages(vault).table())
    application.router.add_route("*", "/{path:.*}", give_page)
    application.on_response_prepare.append(add_headers)
    return application


def shut_page(why: str, texts: Mapping[str, Texts]) -> bytes:
    """Make the page."""
    environment = template_environment()
    reason = why if texts[LANGUAGES[0]].known(f"shut.{why}.what") else OTHER
    shown = [(language, texts[language]) for language in LANGUAGES]
    return environment.get_template("shut.html").render(shown=shown, reason=reason, code=why).encode()


async def _while_shut(vault: Peer | WatchedPeer, why: str) -> None:
    while True:
        await asyncio.sleep(ASK_AGAIN_S)
        try:
            if (await vault.ask(DescribeOpening())).why != why:
                return
        except Unavailable:  # it is being started
            continue
