"""What a paired computer keeps: its secret in a cookie, sent to the page that opens the box and to no other.

A cookie, because every browser of a practice keeps one without a script, over restarts; 400 days is as long as they
do (RFC 6265bis 5.5), and each opening renews it. What that gives up: docs/decisions/unlocking.md.
"""

from __future__ import annotations

import re

from aiohttp import web

UNLOCK_PATH = "/unlock"
COOKIE = "__Secure-computer"
KEPT_S = 400 * 86400
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}\Z")


def keep_secret(answer: web.StreamResponse, secret: str) -> None:
    """Pair the browser: for this path and TLS only, for no script, sent with no foreign request."""
    answer.set_cookie(COOKIE, secret, max_age=KEPT_S, path=UNLOCK_PATH, secure=True, httponly=True, samesite="Strict")


def kept_secret(request: web.Request) -> str:
    """Give the browser's secret; "" if it is not paired."""
    secret = request.cookies.get(COOKIE, "")
    return secret if _SECRET.match(secret) else ""
