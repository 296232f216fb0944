"""Makes pages from templates, all compiled at start, every value escaped.

A page gets its own values, and: `t` (the texts), `csrf`, `session`, `box` (names to show), `alarm` (what the banner
is about), `error` (what went wrong, in the reader's words). Nothing else of a peer's answer reaches a template than
what is named in its call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import jinja2
from aiohttp import web

from appliance.contracts.vault import Box
from appliance.core.errors import Invalid, NotFound, PraxisError, Refused, Unavailable
from appliance.practice.fields import KINDS, VALID_DAYS, local_path
from appliance.practice.texts import read_texts
from appliance.practice.visit import Visit, see_other

FOLDER = Path(__file__).parent / "templates"
REFRESH_S = 5
#: How much later than vault's lock a page leaves the screen.
LOCK_MARGIN_S = 5
AWAY = frozenset({"peer_away", "peer_timeout", "peer_lost", "stream_broken", "unprovisioned", "locked"})

_STATUS_BY_CODE = {
    # What a reader can bring about or end is no failure of the box: never 5xx.
    "accounts_full": 409,
    "links_waiting": 409,
    "patient_changed": 409,
    "shares_full": 409,
    "uploads_busy": 429,
    "computers_full": 409,
    "slow_down": 429,
    "pin_lockout": 429,
    "share_limit": 429,
    "read_limit": 429,
    "search_limit": 429,
    "disk_full": 507,
    "document_size": 413,
    "upload_size": 413,
    "document_type": 415,
    "patient_exists": 409,
    "method": 405,
    "busy": 409,
    "not_empty": 409,
    "peer_timeout": 504,
}
_STATUS_BY_FAMILY: Mapping[type[PraxisError], int] = {Refused: 403, Invalid: 422, Unavailable: 503, NotFound: 404}

#: Where a failed address belongs: its beginning, the page that leads on, its name, its part of the navigation.
_PLACES = (
    ("/shares", "/shares", "shares", "shares"),
    ("/patients", "/patients", "patients", "patients"),
    ("/documents", "/patients", "patients", "patients"),
    ("/history", "/history", "history", "history"),
    ("/staff", "/staff", "staff", "practice"),
    ("/devices", "/devices", "devices", "practice"),
    ("/password", "/password", "password", "practice"),
    ("/kit", "/kit", "kit", "practice"),
    ("/backup", "/backup", "backup", "practice"),
    ("/restore", "/restore", "restore", "practice"),
    ("/status", "/status", "status", "practice"),
    ("/unlocking", "/unlocking", "unlocking", "practice"),
)
_START = ("/", "/", "start", "")


def status_of(error: PraxisError) -> int:
    """Give the HTTP status of a failure (RFC 9110 15.5, RFC 6585 4, RFC 4918 11.5)."""
    return _STATUS_BY_CODE.get(error.code, _STATUS_BY_FAMILY.get(type(error), 500))


def template_environment() -> jinja2.Environment:
    """Give what reads the templates: every value escaped, an unknown name a bug, no file looked at twice."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        auto_reload=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


class Pages:
    """Renders pages; `box` is who this box is, as last heard from vault."""

    def __init__(self, box: Box) -> None:
        self.box = box
        #: What the banner on every page is about (alarm.py); "": there is none.
        self.alarm: Literal["", "certificate", "log"] = ""
        self.texts = read_texts()
        environment = template_environment()
        self._templates = {name: environment.get_template(name) for name in environment.list_templates()}

    def show(
        self,
        visit: Visit,
        template: str,
        *,
        status: int = 200,
        error: PraxisError | None = None,
        **values: object,
    ) -> web.Response:
        """Make a page; with `error` its status is the failure's, and the page says what happened.

        While records takes in a backup, no page of its can be shown: every one leads to how far that is.
        """
        if error is not None and error.code == "restoring" and leads_to_restore(visit):
            return see_other("/restore" if visit.request.method == "GET" else "/restore?why=unsaved")
        text = self._templates[template].render(
            t=visit.texts,
            language=visit.texts.language,
            here=local_path(visit.request.path),
            box=self.box,
            alarm=self.alarm,
            session=visit.session,
            csrf=visit.csrf,
            form=visit.form,
            kinds=KINDS,
            valid_days=VALID_DAYS,
            error=visit.texts.error(error) if error else None,
            done=done_text(visit),
            **values,
        )
        # What was typed may hold half a character (from an address), which has no encoding.
        body = text.encode("utf-8", "replace")
        answer = web.Response(body=body, content_type="text/html", charset="utf-8")
        answer.set_status(status_of(error) if error else status)
        answer.headers["Content-Language"] = visit.texts.language
        answer.headers["Vary"] = "Accept-Language, Cookie"
        if error is not None and error.code in AWAY and visit.request.method == "GET":
            answer.headers["Refresh"] = str(REFRESH_S)
            answer.headers["Retry-After"] = str(REFRESH_S)
        elif visit.session is not None:
            # Whoever left the desk: the page leaves the screen when the session locks.
            leaves_after_s = visit.session.idle_s_left + LOCK_MARGIN_S
            answer.headers["Refresh"] = f"{leaves_after_s}; url=/locked?next={local_path(visit.request.path)}"
        return answer

    def fail(self, visit: Visit, error: PraxisError) -> web.Response:
        """Make the page for a failure that no page of its own shows; it leads back to where the reader was."""
        place = next((row for row in _PLACES if visit.session and visit.request.path.startswith(row[0])), _START)
        again = error.code in AWAY and visit.request.method == "GET"
        return self.show(
            visit,
            "error.html",
            error=error,
            back=local_path(visit.request.path) if again else place[1],
            way="again" if again else place[2],
            nav=place[3],
        )


def leads_to_restore(visit: Visit) -> bool:
    """Say whether who asks may see how far the restore is, and does not look at it already."""
    return visit.session is not None and not visit.request.path.startswith("/restore")


def done_text(visit: Visit) -> str:
    """Give the sentence for what was just done: `?done=` names one of the catalogue's, anything else is ignored."""
    code = visit.request.query.get("done", "")
    key = f"done.{code}"
    return visit.texts(key) if code.isidentifier() and visit.texts.known(key) else ""
