"""Debian's Chromium against a running box: it trusts the box's two authorities through NSS and ignores no error.

`watch` writes down what a visitor must never cause: script errors, policy violations, failed requests, and requests
to hosts that are not the box's. Names under .localhost are this machine for Chromium (RFC 6761, 6.3).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Request, Response, async_playwright

from tests.simulators.demo_box import DemoBox

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 800}
TIMEOUT_MS = 20_000
#: Addresses that reach no network; the browser's own PDF viewer is an extension.
INSIDE = {"blob", "data", "chrome-extension", "chrome"}
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n", re.DOTALL)


def trust(home: Path, authorities: Iterable[Path]) -> None:
    """Make the NSS database of a new home folder and trust every certificate of these PEM files for TLS servers."""
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    # -N asks for a password, for ever, where a database already is: the folder is new, and nobody can answer.
    subprocess.run([*certutil, "-N", "--empty-password"], check=True, stdin=subprocess.DEVNULL)
    certificates = [found for path in authorities for found in CERTIFICATE.findall(path.read_text())]
    for number, certificate in enumerate(certificates):
        add = [*certutil, "-A", "-t", "C,,", "-n", f"authority {number}"]
        subprocess.run(add, input=certificate, text=True, check=True)


@asynccontextmanager
async def opened_chromium(box: DemoBox) -> AsyncIterator[Browser]:
    """Give a browser with a home of its own; downloads go with it."""
    with tempfile.TemporaryDirectory(prefix="praxissafe-browser-") as home:
        trust(Path(home), [box.practice_ca, box.portal_ca])
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=ARGUMENTS,
                env={**os.environ, "HOME": home},
                downloads_path=home,
            )
            try:
                yield browser
            finally:
                await browser.close()


@dataclass
class Watch:
    """What happened in a context; `expected` are parts of complaints that a test provokes on purpose."""

    own_hosts: set[str]
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    requests: int = 0
    #: Everything that travelled in the clear to the box's doors: address, headers, body of each request.
    sent: list[str] = field(default_factory=list, repr=False)

    def check(self) -> None:
        """Fail if anything happened that was not expected."""
        unexpected = [one for one in self.complaints if not any(part in one for part in self.expected)]
        assert not unexpected, "\n".join(unexpected)

    def note_request(self, request: Request) -> None:
        """Write down what is asked, and complain if it is asked elsewhere."""
        self.requests += 1
        parts = urlsplit(request.url)
        self.sent.append(
            f"{request.method} {request.url.partition('#')[0]} {request.headers} {request.post_data_buffer!r}"
        )
        if parts.scheme not in INSIDE and parts.hostname not in self.own_hosts:
            self.complaints.append(f"foreign request: {request.url}")

    def note_failure(self, request: Request) -> None:
        """A request that got no answer; those the browser stopped itself, to go elsewhere or to save, are none."""
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.method} {request.url} {request.failure}")

    def note_answer(self, response: Response) -> None:
        """An answer that says no."""
        if response.status >= 400:
            self.complaints.append(f"status {response.status}: {response.request.method} {response.url}")

    def note_console(self, message: ConsoleMessage) -> None:
        """Errors and warnings; policy violations are among them."""
        if message.type in {"error", "warning", "assert"}:
            self.complaints.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")


def watch(context: BrowserContext, box: DemoBox) -> Watch:
    """Watch everything in this context from now on."""
    seen = Watch({str(box.said["page_host"]), str(box.said["lan_host"])})
    context.on("request", seen.note_request)
    context.on("requestfailed", seen.note_failure)
    context.on("response", seen.note_answer)
    context.on("console", seen.note_console)
    context.on("weberror", lambda error: seen.complaints.append(f"script error: {error.error}"))
    return seen


@asynccontextmanager
async def visitor(
    browser: Browser, box: DemoBox, *, language: str = "de-DE", **options: Any
) -> AsyncIterator[tuple[BrowserContext, Watch]]:
    """Give a person's browser: nothing of an earlier one is in it; fails if it complained."""
    context = await browser.new_context(
        locale=language, timezone_id="Europe/Berlin", **{"viewport": DESKTOP, **options}
    )
    context.set_default_timeout(TIMEOUT_MS)
    seen = watch(context, box)
    try:
        yield context, seen
    finally:
        await context.close()
    seen.check()
