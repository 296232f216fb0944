"""A practice on the bench: its own application behind TLS on a passed listening socket, beside the real vault (TPM in
software), the real records and the real audit, each on its own socket.

`python -m tests.practice.bench FOLDER PORT` runs one until it is ended, for looking at the pages, and prints one JSON
line first. Peers can be taken away and brought back.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
from msgspec.structs import replace
from yarl import URL

from appliance.contracts.audit import AUDIT
from appliance.contracts.backup import BACKUP
from appliance.contracts.certificate import CERTIFICATE
from appliance.contracts.page_key import PAGE_KEY
from appliance.contracts.process import PROCESS, PROCESS_ANSWERS
from appliance.contracts.tunnel import TUNNEL
from appliance.contracts.vault import VAULT, AcceptKitSheet, Describe, FinishProvisioning, MakeKit
from appliance.contracts.watch import WATCH
from appliance.core.accept import accept_connections
from appliance.core.varlink import ask_patiently, serve
from appliance.practice.connections import Connections
from appliance.practice.desk import Desk
from appliance.practice.guard import Guard, Host
from appliance.practice.lan_certificate import keep_certificate
from appliance.practice.pages import Pages
from appliance.practice.peers import Peers
from appliance.practice.pending_kits import PendingKits
from appliance.practice.pending_links import PendingLinks
from appliance.practice.routes import make_application
from appliance.practice.settings import PracticeSettings
from appliance.records.answers import RecordsAnswers
from appliance.vault.answers import VaultAnswers
from appliance.vault.audit_log import AuditLog as VaultsAudit
from appliance.vault.clock import Clock as VaultClock
from appliance.vault.page_key_answers import PageKeyAnswers
from appliance.vault.vault import open_vault
from tests.practice.backup_peer import PlayedBackup, PlayedEarlier
from tests.practice.page_peers import PlayedCertificate, PlayedWatch
from tests.practice.tunnel_peer import PlayedTunnel
from tests.records.bench import Clock, audit_answers, records_process, served
from tests.simulators.patient import OneAddress
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import PROVISION, Running

PASSWORD = "correct horse battery"
NAME = "Sabine Keller"
PRACTICE_NAME = "Praxis Dr. Şahin & Łuk"
TELEPHONE = "030 5550 1234"
TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
PDF = b"%PDF-1.7\n% a document\n"


@dataclass
class Answer:
    """An answer as it came."""

    status: int
    body: bytes
    headers: Any
    url: str = ""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def csrf(self) -> str:
        found = TOKEN.search(self.text)
        return found[1] if found else ""

    def by_id(self, name: str) -> str:
        """Give the text of an element."""
        found = re.search(rf'id="{name}"[^>]*>([^<]*)<', self.text)
        assert found, f"no {name}"
        return found[1]

    @property
    def error(self) -> str:
        found = re.search(r'data-code="([a-z_]+)"', self.text)
        return found[1] if found else ""


class Browser:
    """One browser with its cookies; sends what a browser sends, and whatever else a test wants."""

    def __init__(self, bench: Bench, context: ssl.SSLContext) -> None:
        self.bench = bench
        self.origin = f"https://{bench.host}:{bench.port}"
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, resolver=OneAddress("127.0.0.1"), limit=50),
            timeout=aiohttp.ClientTimeout(total=60),
            headers={"Accept-Language": "de"},
        )
        self.csrf = ""

    async def ask(self, method: str, path: str, *, follow: bool = True, **more: Any) -> Answer:
        async with self._client.request(
            method, URL(self.origin + path, encoded=True), allow_redirects=follow, **more
        ) as answer:
            got = Answer(answer.status, await answer.read(), answer.headers, str(answer.url))
        self.bench.answers.append(got)
        if got.headers.get("Content-Type", "").startswith("text/html") and got.csrf:
            self.csrf = got.csrf
        return got

    async def open(self, path: str, **more: Any) -> Answer:
        return await self.ask("GET", path, **more)

    async def send(self, path: str, fields: Any = None, *, headers: Any = None, **more: Any) -> Answer:
        """Send a form as our own page does."""
        data = [("csrf", self.csrf), *dict(fields or {}).items()]
        sent = {"Origin": "null", "Sec-Fetch-Site": "same-origin"} if headers is None else headers
        return await self.ask("POST", path, data=aiohttp.FormData(data), headers=sent, **more)

    async def upload(self, patient: str, *files: tuple[str, bytes], kind: str = "finding", **more: Any) -> Answer:
        form = aiohttp.FormData(default_to_multipart=True, quote_fields=False)
        form.add_field("csrf", self.csrf)
        form.add_field("kind", kind)
        form.add_field("title", more.pop("title", ""))
        for name, content in files:
            form.add_field("file", content, filename=name, content_type="application/octet-stream")
        return await self.ask(
            "POST", f"/patients/{patient}/documents", data=form, headers={"Sec-Fetch-Site": "same-origin"}, **more
        )

    async def put(self, headers: dict[str, str], body: Any, path: str = "/intake/v1/documents") -> Answer:
        """Ask as practice software does: without cookies of ours."""
        return await self.ask("PUT", path, data=body, headers=headers)

    async def claim(self) -> Answer:
        fields = {
            "code": self.bench.claim_code,
            "practice_name": PRACTICE_NAME,
            "telephone": TELEPHONE,
            "name": NAME,
            "password": PASSWORD,
            "password_again": PASSWORD,
        }
        answer = await self.send("/claim", fields)
        assert answer.url.endswith("/patients?done=claimed"), answer.text
        return answer

    async def log_in(self, name: str = NAME, password: str = PASSWORD) -> Answer:
        return await self.send("/login", {"name": name, "password": password})

    async def add_patient(self, family: str = "Mustermann", given: str = "Erika", born: str = "12.08.1964") -> str:
        answer = await self.send(
            "/patients/new", {"family_name": family, "given_name": given, "birth_date": born, "number": ""}
        )
        assert "done=patient_made" in answer.url, answer.text
        return answer.url.rpartition("/")[2].partition("?")[0]

    async def add_document(self, patient: str, name: str = "befund.pdf", content: bytes = PDF, **more: Any) -> str:
        answer = await self.upload(patient, (name, content), **more)
        assert "done=uploaded" in answer.url, answer.text
        documents = re.findall(r'name="documents" value="([0-9a-f]{32})"', answer.text)
        return next(one for one in documents if one not in self.bench.documents) if documents else ""

    async def share(self, patient: str, *documents: str) -> tuple[str, Answer]:
        data = aiohttp.FormData([("csrf", self.csrf), *(("documents", one) for one in documents)])
        answer = await self.ask(
            "POST", f"/patients/{patient}/shares", data=data, headers={"Sec-Fetch-Site": "same-origin"}
        )
        found = re.search(r"/shares/([0-9a-f]{32})/link", answer.url)
        assert found, answer.text
        return found[1], answer

    async def make_kit(self) -> list[str]:
        """Make the emergency sheets and say their words; gives the words of each."""
        vault, session = self.bench.desk.peers.vault, self.cookies["__Host-session"].value
        made = await vault.ask(MakeKit(session=session, password=PASSWORD))
        for number, sheet in enumerate(made.sheets, start=1):
            words = [sheet.split()[place - 1] for place in made.asked]
            await vault.ask(AcceptKitSheet(session=session, kit=made.kit, sheet=number, words=words))
        return list(made.sheets)

    async def device_token(self) -> str:
        return (await self.send("/devices/new", {"label": "Praxissoftware"})).by_id("device-token")

    @property
    def cookies(self) -> dict[str, Any]:
        return {cookie.key: cookie for cookie in self._client.cookie_jar}

    def set_cookie(self, name: str, value: str) -> None:
        self._client.cookie_jar.update_cookies({name: value}, URL(self.origin))

    async def close(self) -> None:
        await self._client.close()


@dataclass
class Bench:
    """A running practice and what stands beside it."""

    folder: Path
    host: str
    port: int
    claim_code: str
    desk: Desk
    clock: Clock
    stack: contextlib.AsyncExitStack
    away: dict[str, contextlib.AsyncExitStack]
    #: vault's answers, for what practice may not ask.
    vault: Any
    answers: list[Answer] = field(default_factory=list)
    documents: set[str] = field(default_factory=set)
    backup: PlayedBackup = field(default_factory=PlayedBackup)
    earlier: PlayedEarlier = field(default_factory=PlayedEarlier)
    watch: PlayedWatch = field(default_factory=PlayedWatch)
    tunnel: PlayedTunnel = field(default_factory=PlayedTunnel)
    certificate: PlayedCertificate = field(default_factory=PlayedCertificate)
    opened_vault: Any = None

    async def browser(self) -> Browser:
        context = ssl.create_default_context(cafile=str(self.desk.certificate.authority))
        browser = Browser(self, context)
        self.stack.push_async_callback(browser.close)
        return browser

    async def claimed(self) -> Browser:
        browser = await self.browser()
        await browser.claim()
        return browser

    async def take_away(self, process: str) -> None:
        """End a peer: its socket is gone."""
        await self.away[process].aclose()
        (self.folder / "run" / f"{process}.sock").unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def practice_bench(
    folder: Path, *, clock: Clock | None = None, port: int = 0, **settings: Any
) -> AsyncIterator[Bench]:
    clock = clock or Clock(int(time.time()))
    for name in ("vault", "run", "practice"):
        (folder / name).mkdir(exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
        port = listener.getsockname()[1]
        tcti = stack.enter_context(software_tpm(folder / "tpm"))
        audit = stack.enter_context(audit_answers(folder / "audit", clock))
        told = await stack.enter_async_context(served(folder / "vault-audit.sock", AUDIT, audit.table(), "vault"))
        vault_settings = booted(folder / "boot", tcti).settings(tcti, folder / "vault")
        vault = await stack.enter_async_context(
            open_vault(vault_settings, VaultsAudit(told), VaultClock(clock, lambda: 0.0))
        )
        running = Running(vault, None)
        made = await running.ask(replace(PROVISION, lan_port=port))
        await running.ask(FinishProvisioning())
        table = VaultAnswers(vault).table()
        peer = await stack.enter_async_context(served(folder / "vault.sock", VAULT, table, "records"))
        backup, earlier = PlayedBackup(), PlayedEarlier()
        watch, certificate, tunnel = PlayedWatch(), PlayedCertificate(), PlayedTunnel()
        table_of_records = RecordsAnswers.table
        stack.enter_context(
            mock.patch.object(RecordsAnswers, "table", lambda answers: earlier.over(table_of_records(answers)))
        )
        records = await stack.enter_async_context(records_process(folder, peer, "", clock=clock, audit=audit))
        away = {}
        answers = RecordsAnswers(records.archive).table()
        for name, served_here in {
            "vault": [(VAULT, table), (PAGE_KEY, PageKeyAnswers(vault).table()), (PROCESS, PROCESS_ANSWERS)],
            "records": [(records.peer._interface, answers), (PROCESS, PROCESS_ANSWERS)],
            "tunnel": [
                (TUNNEL, tunnel.table()),
                (PROCESS, PROCESS_ANSWERS),
            ],
            "backup": [(BACKUP, backup.table()), (PROCESS, PROCESS_ANSWERS)],
            "watch": [(WATCH, watch.table()), (PROCESS, PROCESS_ANSWERS)],
            "certificate": [(CERTIFICATE, certificate.table()), (PROCESS, PROCESS_ANSWERS)],
        }.items():
            away[name] = await stack.enter_async_context(contextlib.AsyncExitStack())
            await away[name].enter_async_context(_served_all(folder / "run" / f"{name}.sock", served_here))

        async with served_practice(folder, listener, clock, **settings) as (desk, guard):
            async with contextlib.AsyncExitStack() as browsers:
                box = desk.pages.box
                bench = Bench(folder, box.lan_host, port, made.claim_code, desk, clock, browsers, away, table)
                bench.backup, bench.earlier = backup, earlier
                bench.watch, bench.certificate, bench.tunnel = watch, certificate, tunnel
                bench.opened_vault = vault
                yield bench
            if guard.bug.done():
                guard.bug.result()  # a bug in a page ends the process: it must not go unseen here


@contextlib.asynccontextmanager
async def served_practice(
    folder: Path, listener: socket.socket, clock: Callable[[], float], **settings: Any
) -> AsyncIterator[tuple[Desk, Guard]]:
    """Serve practice alone on `listener`; its peers' sockets are in `<folder>/run`."""
    chosen = PracticeSettings(state=folder / "practice", **settings)
    peers = Peers(folder=folder / "run")
    box = await ask_patiently(peers.vault, Describe(), patience_s=5)
    now = datetime.datetime.fromtimestamp(clock(), datetime.UTC)
    certificate = keep_certificate(chosen.state, box.lan_host, now)
    pages, links = Pages(box), PendingLinks()
    kits = PendingKits()
    guard = Guard(Host(box), peers, pages, links, kits)
    desk = Desk(chosen, certificate, peers, pages, links, kits, guard, clock)
    context = certificate.context()
    application = make_application(desk)
    limits = {"max_connections": chosen.max_connections, "idle_timeout_s": chosen.idle_timeout_s}
    async with Connections(application, **limits) as connections:
        accepting = asyncio.create_task(
            accept_connections(listener, connections.make_protocol, lambda: context, max_connections=16)
        )
        try:
            yield desk, guard
        finally:
            guard.bug.cancel()
            accepting.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await accepting


@contextlib.asynccontextmanager
async def _served_all(path: Path, answers: Any) -> AsyncIterator[None]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        task = asyncio.create_task(serve(listener, answers, {os.getuid(): "practice"}))
        try:
            yield
            if task.done():
                task.result()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task


async def main(folder: Path, port: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    class RealClock(Clock):
        def __call__(self) -> int:
            return int(time.time())

    async with practice_bench(folder, clock=RealClock(), port=port) as bench:
        said = {
            "url": f"https://{bench.host}:{bench.port}/",
            "ca": str(bench.desk.certificate.authority),
            "claim_code": bench.claim_code,
        }
        print(json.dumps(said), flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
