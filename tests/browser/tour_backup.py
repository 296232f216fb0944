"""The pages of backup, restore and earlier shares that a demo box cannot come to: a practice with a played backup.
And those of a shut box.

`show(page, name)` is called at each, as in tour.py. Run beside a browser that trusts the bench's authority.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import msgspec
from playwright.async_api import Page

from appliance.contracts.backup import Outcome, SetStore
from appliance.contracts.vault import EndRestore
from appliance.core.errors import Unavailable
from appliance.practice import watching
from tests.browser.chromium import TIMEOUT_MS, opened_chromium
from tests.browser.tour_reset import LOOKED_AT_S, shut_tour
from tests.practice.backup_peer import DAY_S, EMPTY, earlier_share, generation, running, store_state
from tests.practice.bench import NAME, PASSWORD, Bench, Browser, practice_bench

Show = Callable[[Page, str], Awaitable[None]]
OLD_BOX = "4f1c09d2" * 4
#: How long the work that is shown has been under way.
BEGAN_S = 600
PATIENTS = (
    ("Mustermann", "Erika"),
    ("Öztürk", "Aylin"),
    ("von und zu Wolkenstein-Rodenegg", "Maximiliane Henriette"),
)


async def played_tour(show: Show, language: str = "de-DE") -> list[str]:
    """Walk through the pages of a practice of its own; gives what the browser's console said."""
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="praxissafe-tour-") as folder:
        async with practice_bench(Path(folder)) as bench:
            desk = await bench.claimed()
            authority = bench.desk.certificate.authority
            box = cast("Any", SimpleNamespace(practice_ca=authority, portal_ca=authority))
            async with opened_chromium(box) as chromium:
                context = await chromium.new_context(locale=language, timezone_id="Europe/Berlin")
                context.set_default_timeout(TIMEOUT_MS)
                page = await context.new_page()
                page.on("console", lambda message: said.append(message.text))
                await BackupTour(bench, desk, page, show).walk()
                await shut_tour(page, bench.desk.peers.vault, show)
                await context.close()
    return said


class BackupTour:
    """One member of staff, from a box without emergency sheets to the shares of the box before."""

    def __init__(self, bench: Bench, desk: Browser, page: Page, show: Show) -> None:
        self._bench = bench
        self._desk = desk  # the same person, where a page of other parts would only be in the way
        self._page = page
        self._show = show

    async def walk(self) -> None:
        """Come past every page."""
        with mock.patch.object(watching, "WATCH_S", LOOKED_AT_S):
            await self._log_in()
            await self._at("/backup", "backup-without-emergency-sheets")
            await self._at("/unlocking", "unlocking-without-emergency-sheets")
            sheets = await self._desk.make_kit()
            await self._store()
            await self._standing()
            await self._restore(sheets)
            await self._earlier()
            await self._bench.take_away("backup")
            await self._at("/backup", "backup-away")
            await self._internet()

    async def _log_in(self) -> None:
        await self._open("/login")
        await self._fill(name=NAME, password=PASSWORD)
        await self._page.locator("main form button").click()
        await self._page.wait_for_url("**/patients")
        await self._show(self._page, "empty-box")

    async def _store(self) -> None:
        await self._at("/backup", "backup-without-place")
        await self._at("/backup/store", "backup-places")
        await self._at("/backup/store?kind=disk", "backup-place-disk")
        await self._at("/backup/store?kind=sftp", "backup-place-sftp")
        self._bench.backup.fails[SetStore] = Unavailable("store_refused")
        await self._open("/backup/store?kind=rest")
        await self._fill(place="https://b.example/box", user="praxis", secret="geheim")
        await self._send("/backup/store")
        await self._show(self._page, "backup-place-refused")

    async def _internet(self) -> None:
        tunnel = self._bench.tunnel
        tunnel.changed(mode="wrapped")
        await self._at("/status/internet", "internet-wrapped")
        tunnel.hindered("portal_certificate")
        await self._at("/status/internet", "internet-strange-certificate")
        tunnel.fails = Unavailable("proxy_silent")
        await self._page.locator("details summary").click()
        await self._fill(address="192.168.1.10:3128")
        await self._send("/status/internet")
        await self._page.locator("#error").wait_for()
        await self._show(self._page, "internet-proxy-silent")
        tunnel.changed(state="connected", mode="streams", proxy="proxy.praxis.lan:3128", proxy_user="box", problem="")
        await self._at("/status/internet", "internet-proxy")
        await self._at("/status/internet/remove", "internet-remove-proxy")

    async def _standing(self) -> None:
        backup, now = self._bench.backup, self._bench.clock()
        backup.kept(now, failed=(2, 9, 10))
        await self._at("/backup", "backup-good")
        await self._at("/backup/forget", "backup-forget")
        backup.changed(running=running("backup", began_at=now - BEGAN_S))
        await self._at("/backup", "backup-running")
        backup.kept(now, failed=(0, 1, 2, 3))
        backup.changed(
            store=store_state("disk", "sicherung", now), last_backup=Outcome(at=now, code="store_away"), running=None
        )
        await self._at("/backup", "backup-old")
        backup.state = EMPTY

    async def _restore(self, sheets: list[str]) -> None:
        bench, page, now = self._bench, self._page, self._bench.clock()
        await self._at("/restore", "restore-sheets")
        wrong = sheets[0].split()
        wrong[4] = "praxis"
        await self._fill(first=" ".join(wrong), second=sheets[1], password=PASSWORD)
        await self._send("/restore/sheets")
        await page.locator("#error").wait_for()
        assert await page.locator("#field-first").input_value(), "what was typed is not typed again"
        await self._show(page, "restore-sheets-refused")
        await self._fill(first=sheets[0])
        await self._send("/restore/sheets")
        await page.locator("input[name='kind']").first.wait_for()
        await self._show(page, "restore-places")
        bench.backup.found = [generation(now - back * DAY_S, documents=1840 - back) for back in (1, 2, 3, 7, 14)]
        await self._open("/restore/store?kind=sftp")
        await self._fill(place="sftp://praxis@sicherung.example/box", server_key="sicherung.example ssh-ed25519 AAAA")
        await self._send("/restore/store")
        await page.locator("input[name='generation']").first.wait_for()
        await self._show(page, "restore-choose")
        await self._at("/restore/abandon", "restore-abandon")
        bench.earlier.restoring = True
        await self._at("/patients", "restore-interrupted")
        await self._send("/restore/start")
        await page.locator("#progress").wait_for()
        bench.backup.changed(running=running("restore", began_at=now - BEGAN_S))
        await self._at("/restore?why=unsaved", "restore-running")
        bench.earlier.restoring = False
        await bench.desk.peers.vault.ask(EndRestore())
        ended = Outcome(
            at=now, code="", documents=1838, bytes=9 * 2**30, took_s=900, box=OLD_BOX, missing=1, shares=5
        )
        bench.backup.changed(running=None, last_restore=ended)
        await self._at("/restore", "restore-done-but-a-file-is-missing")

    async def _earlier(self) -> None:
        bench, page = self._bench, self._page
        ended = bench.backup.state.last_restore
        assert ended is not None
        bench.backup.changed(last_restore=msgspec.structs.replace(ended, missing=0, shares=len(PATIENTS)))
        for number, (family, given) in enumerate(PATIENTS):
            patient = await self._desk.add_patient(family, given)
            document = await self._desk.add_document(patient, title="Befund A")
            bench.documents.add(document)
            bench.earlier.shares.append(earlier_share(number, patient, [document], f"{family}, {given}"))
        await self._at("/restore", "restore-done")
        await self._at("/shares", "shares-of-the-box-before")
        await self._at("/shares/earlier", "earlier-shares")
        await page.locator("button[formaction]").click()
        await self._show(page, "earlier-shares-drop")
        await self._open("/shares/earlier")
        await page.locator(".bar button").click()
        await page.wait_for_url("**/print")
        await self._show(page, "earlier-shares-to-print")
        await self._at("/shares/earlier", "no-earlier-shares")

    async def _at(self, path: str, name: str) -> None:
        await self._open(path)
        await self._show(self._page, name)

    async def _open(self, path: str) -> None:
        await self._page.goto(self._desk.origin + path)

    async def _fill(self, **fields: str) -> None:
        for name, text in fields.items():
            await self._page.locator(f"#field-{name}").fill(text)

    async def _send(self, action: str) -> None:
        await self._page.locator(f"main form[action='{action}'] button").first.click()
        with contextlib.suppress(TimeoutError):
            await self._page.wait_for_load_state()
