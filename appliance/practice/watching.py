"""A page about work under way loads itself again, and takes no part in keeping the session alive."""

from __future__ import annotations

from aiohttp import web

from appliance.practice.visit import Visit

WATCH_S = 5


def watch_on(answer: web.StreamResponse, visit: Visit, path: str) -> web.StreamResponse:
    """Have the browser load `path` soon, unless the session locks before; `path` must not touch the session."""
    if visit.session is not None and visit.session.idle_s_left > WATCH_S:
        answer.headers["Refresh"] = f"{WATCH_S}; url={path}"
    return answer
