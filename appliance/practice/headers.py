"""The headers of every answer: what a browser may do with it. One table, so that a person reads it in one go.

Sources: Content Security Policy Level 3 (W3C), Fetch (WHATWG), RFC 6797 (HSTS). Rules: nothing is stored, nothing is
loaded from elsewhere, no page may be framed. A document is shown as another origin (`sandbox`), except PDF: browsers
show no PDF in a sandbox, and their viewers run none of its scripts with our origin.
"""

from __future__ import annotations

from collections.abc import Mapping

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
#: A picture or text document: its viewer's own style, nothing else. `sandbox`: no script, no form, no origin.
DOCUMENT_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; sandbox; form-action 'none'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
PDF_POLICY = (
    "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'"
)

EVERY_ANSWER: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=63072000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow, noarchive",
    # The library would name itself and its version.
    "Server": "praxissafe",
}
