"""One request of a person: language, session, form. Made by guard, read by the pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web
from multidict import MultiDict, MultiMapping

from appliance.contracts.vault import Session
from appliance.practice.texts import Texts

COOKIE = "__Host-session"


@dataclass
class Visit:
    """What a page knows of who asks."""

    request: web.Request
    texts: Texts
    #: The session's bearer token and what vault says of it; "" and None without a live session.
    token: str = field(default="", repr=False)
    session: Session | None = field(default=None, repr=False)
    #: What the reader sent, or what a page shows in its fields.
    form: MultiMapping[str] = field(default_factory=MultiDict, repr=False)

    @property
    def csrf(self) -> str:
        """The session's CSRF token, for the pages' forms."""
        return self.session.csrf if self.session else ""

    def part(self, name: str) -> str:
        """Give a variable part of the path."""
        return self.request.match_info[name]


def set_session(answer: web.StreamResponse, token: str) -> None:
    """Give the browser its session: for this host and TLS only, for no script, sent with no foreign request.

    Without a lifetime: it ends with the browser. Source: RFC 6265bis 4.1.3.2 (`__Host-`).
    """
    answer.set_cookie(COOKIE, token, path="/", secure=True, httponly=True, samesite="Strict")


def clear_session(answer: web.StreamResponse) -> None:
    """Take the session's cookie back."""
    answer.set_cookie(COOKIE, "", max_age=0, path="/", secure=True, httponly=True, samesite="Strict")


def see_other(path: str) -> web.Response:
    """Send the browser on to a page of ours (RFC 9110 15.4.4)."""
    return web.Response(status=303, headers={"Location": path})
