"""watch beside simulated logs and monitors: the real rounds and answers, the contract's peers on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from appliance.contracts.certificate import CERTIFICATE, CertificateState
from appliance.contracts.certificate import ReadState as ReadCertificate
from appliance.contracts.page_key import PAGE_KEY, ListPageKeys, PageKey, PageKeys
from appliance.contracts.watch import WATCH, Acknowledge, Finding, ReadFindings, ReadState, Source
from appliance.core.errors import Unavailable
from appliance.core.varlink import Answers, Caller, Interface, Peer, serve
from appliance.watch.answers import WatchAnswers
from appliance.watch.rounds import Rounds
from appliance.watch.settings import LogSettings, MonitorSettings, WatchSettings
from appliance.watch.state import StateFile
from tests.simulators.certificate_log import CertificateLog, Monitor, spki_of

HOST = "box1.portal.example"


@dataclass
class Practice:
    """The page's keys as vault knows them, the present one first; and when its certificate was issued."""

    folder: Path
    keys: list[tuple[ec.EllipticCurvePrivateKey, int]] = field(default_factory=list)
    host: str = HOST
    issued_at: int = 0
    locked: bool = False
    logs: list[CertificateLog] = field(default_factory=list)
    monitors: list[Monitor] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return self.keys[0][0]

    def replace_key(self, since: int) -> None:
        self.keys.insert(0, (ec.generate_private_key(ec.SECP256R1()), since))

    def tables(self) -> list[tuple[str, Interface, Answers]]:
        async def list_keys(_: ListPageKeys, __: Caller) -> PageKeys:
            if self.locked:
                raise Unavailable("locked")
            keys = [PageKey(public_key=spki_of(key), since=since) for key, since in self.keys]
            return PageKeys(page_host=self.host, keys=keys)

        async def read_certificate(_: ReadCertificate, __: Caller) -> CertificateState:
            return CertificateState(
                state="valid" if self.issued_at else "none",
                step="none",
                not_before=self.issued_at,
                not_after=self.issued_at + 7 * 86400,
                next_attempt_at=0,
                last_problem="",
                last_problem_at=0,
                replacing=False,
                revoking=False,
                directory="",
                account="",
            )

        return [
            ("vault", PAGE_KEY, {ListPageKeys: list_keys}),
            ("certificate", CERTIFICATE, {ReadCertificate: read_certificate}),
        ]

    def watch_settings(self) -> WatchSettings:
        logs = tuple(
            LogSettings(name=f"log {number}", url=log.url, key=log.spki, authority=log.authority)
            for number, log in enumerate(self.logs)
        )
        monitors = tuple(
            MonitorSettings(name=f"monitor {number}", url=one.url, authority=one.authority)
            for number, one in enumerate(self.monitors)
        )
        given = {"logs": logs, "monitors": monitors, "answer_timeout_s": 5.0, **self.settings}
        return WatchSettings(state_folder=str(self.folder), **given)  # type: ignore[arg-type]

    @contextlib.asynccontextmanager
    async def watch(self) -> AsyncIterator[Watch]:
        """Start watch anew on the state that is there; settings are read now."""
        async with contextlib.AsyncExitStack() as stack:
            peers = {}
            for name, interface, table in self.tables():
                some = Interface(interface.name, {verb.__name__: verb for verb in table}, "")
                peers[name] = await stack.enter_async_context(
                    _answering(self.folder / name, some, table, "watch", interface)
                )
            settings, file = self.watch_settings(), StateFile(self.folder / "state.json")
            rounds = Rounds(settings, file, peers["vault"], peers["certificate"])
            table = WatchAnswers(settings, file, rounds).table()
            own = await stack.enter_async_context(_answering(self.folder / "watch", WATCH, table, "practice", WATCH))
            yield Watch(rounds, own, file)


@dataclass
class Watch:
    rounds: Rounds
    peer: Peer
    file: StateFile

    async def go_round(self) -> bool:
        return await self.rounds.go_round()

    async def findings(self) -> list[Finding]:
        return (await self.peer.ask(ReadFindings())).findings

    async def open(self) -> int:
        return (await self.peer.ask(ReadFindings())).open

    async def acknowledge(self, finding: Finding) -> None:
        await self.peer.ask(Acknowledge(finding=finding.finding))

    async def source(self, name: str = "log 0") -> Source:
        sources = (await self.peer.ask(ReadState())).sources
        return next(one for one in sources if one.name == name)


def practice(folder: Path) -> Practice:
    made = Practice(folder)
    made.replace_key(int(time.time()) - 30 * 86400)
    return made


@contextlib.asynccontextmanager
async def _answering(
    path: Path, interface: Interface, answers: Answers, caller: str, whole: Interface
) -> AsyncIterator[Peer]:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        work = asyncio.ensure_future(serve(listener, [(interface, answers)], {os.getuid(): caller}))
        try:
            yield Peer(whole, path)
        finally:
            work.cancel()
            await asyncio.wait([work])
            path.unlink(missing_ok=True)
