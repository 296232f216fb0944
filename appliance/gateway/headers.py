"""The headers of every answer: what a browser may do with it. One table, so that a person reads it in one go.

Sources: Content Security Policy Level 3, Trusted Types (W3C); RFC 6797 (HSTS); Clear Site Data (W3C). Rules: no
answer may be stored; nothing is loaded from elsewhere; no inline script or style; no HTML from text
(require-trusted-types-for). The viewer is another origin on purpose: `sandbox` without allow-same-origin.
"""

from __future__ import annotations

from collections.abc import Mapping

NOTHING_MORE = "base-uri 'none'; form-action 'none'"

#: For what is no page: a browser that is led to it shows and runs nothing.
DATA_POLICY = f"default-src 'none'; sandbox; frame-ancestors 'none'; {NOTHING_MORE}"

#: The page: own scripts and styles, opened pictures as blobs, its own box, the viewer's frame and the download's.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob:; connect-src 'self'; "
    "frame-src 'self'; worker-src 'self'; frame-ancestors 'none'; "
    f"{NOTHING_MORE}; require-trusted-types-for 'script'; trusted-types praxissafe"
)

#: The PDF viewer: opaque origin, no connection anywhere, pdf.js and its worker (a blob that imports it). Fonts and
#: bytes come by message.
VIEWER_POLICY = (
    "default-src 'none'; sandbox allow-scripts; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "font-src blob: data:; worker-src blob:; frame-ancestors 'self'; "
    f"{NOTHING_MORE}; require-trusted-types-for 'script'; trusted-types viewer"
)

DENIED_FEATURES = (
    "accelerometer",
    "browsing-topics",
    "camera",
    "display-capture",
    "encrypted-media",
    "geolocation",
    "gyroscope",
    "hid",
    "idle-detection",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "usb",
    "xr-spatial-tracking",
)

EVERY_ANSWER: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": DATA_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in DENIED_FEATURES),
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    # The library would name itself and its version.
    "Server": "praxissafe",
}

#: The page clears what an earlier visit, or a gateway that was captured then, left in the browser.
PAGE: Mapping[str, str] = {
    **EVERY_ANSWER,
    "Content-Security-Policy": PAGE_POLICY,
    "Clear-Site-Data": '"cookies", "storage"',
}

VIEWER: Mapping[str, str] = {**EVERY_ANSWER, "Content-Security-Policy": VIEWER_POLICY}

#: The viewer's own files are asked for by an opaque origin ("null"): they are the same for everyone and public.
VIEWER_FILE: Mapping[str, str] = {
    **EVERY_ANSWER,
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
