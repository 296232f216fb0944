"""The rounds: ask every source, one after the other, judge what it shows, note how it is heard; then wait.

A source that is away, answers nonsense or contradicts itself is a state of that source here, never a failure of the
process. Without vault's word on the page's keys there is no round: logs keep what they have.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from msgspec.structs import replace

from appliance.contracts.certificate import ReadState as ReadCertificate
from appliance.contracts.page_key import ListPageKeys
from appliance.contracts.watch import Finding, Trouble
from appliance.core.errors import PraxisError
from appliance.core.journal import say
from appliance.core.metrics import Counter
from appliance.core.varlink import Peer, PeerGone, ask_patiently
from appliance.formats.certificate_log import log_id, read_log_key
from appliance.formats.seen_certificate import SeenCertificate
from appliance.watch.fetching import Fetcher, asking
from appliance.watch.judging import OwnKeys, finding_about_log, finding_of
from appliance.watch.log import Log, LogBroken
from appliance.watch.monitor import ask_monitor
from appliance.watch.settings import LogSettings, MonitorSettings, WatchSettings
from appliance.watch.state import LogState, MonitorState, SourceState, StateFile

#: Rounds of many boxes do not fall together.
JITTER = 0.2
RETRY_S = 60.0

TROUBLES: dict[str, Trouble] = {
    "source_away": "away",
    "source_busy": "busy",
    "source_certificate": "certificate",
    "log_signature": "signature",
}
_sources = Counter("watch_sources_total", "Sources asked, by how they answered.", ["heard", "trouble"])
_findings = Counter("watch_findings_total", "Findings.", ["certificate", "log"])

_State = TypeVar("_State", bound=SourceState)


class NoWordOfVault(Exception):
    """vault does not say which keys are the page's; the round ends, and no source is to blame."""


class Rounds:
    """Asks all sources again and again; `file` is the state, which answers.py reads."""

    def __init__(self, settings: WatchSettings, file: StateFile, vault: Peer, certificate: Peer) -> None:
        self._settings = settings
        self._file = file
        self._vault = vault
        self._certificate = certificate
        self.next_at = 0
        #: Set to begin a round now.
        self.wanted = asyncio.Event()

    async def keep_watching(self) -> None:
        """Run until cancelled, or vault cannot be dialled (core/varlink/watch.py: PeerGone)."""
        while True:
            every_s = self._settings.every_s * (1 + JITTER * (secrets.randbelow(1000) / 500 - 1))
            wait_s = every_s if await self.go_round() else min(RETRY_S, every_s)
            self.next_at = int(time.time() + wait_s)
            self.wanted.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self.wanted.wait()
            except TimeoutError:
                pass

    async def go_round(self) -> bool:
        """Ask every source once; False if vault did not say which keys are the page's."""
        try:
            await self._ask_all(await self._own_keys())
        except NoWordOfVault:
            say("round_waits", priority="notice")
            return False
        return True

    async def _ask_all(self, own: OwnKeys) -> None:
        if own.host != self._file.now.host:
            # Another name: everything was looked through for the one before.
            self._file.change(host=own.host, logs={}, monitors={})
        for log in self._settings.logs:
            await self._ask_log(log, own)
        issued_at = await self._issued_at()
        for monitor in self._settings.monitors:
            await self._ask_monitor(monitor, own, issued_at)

    async def _ask_log(self, settings: LogSettings, own: OwnKeys) -> None:
        key = read_log_key(settings.key)
        name, file = log_id(key), self._file
        if file.now.logs.get(name, LogState()).broken:
            return
        trouble: Trouble = ""
        try:
            async with self._asking(settings) as fetcher:
                state = await Log(fetcher, key, self._settings, own.host).follow(
                    file.now.logs.get(name, LogState()),
                    whole=settings.whole,
                    keep=lambda kept: file.keep_log(name, kept),
                    seen=lambda one: self._judge(one, settings.name),
                )
            head_at = state.head.timestamp_ms / 1000 if state.head else 0
            trouble = "stale" if head_at + self._settings.merge_delay_s < time.time() else ""
        except LogBroken as error:
            trouble = "broken"
            roots = b"".join(head.root for head in error.heads)
            finding = finding_about_log(name, error.kind, settings.name, roots, int(time.time()))
            self._found(finding)
            state = replace(file.now.logs.get(name, LogState()), broken=finding.finding, evidence=error.heads)
        except PeerGone:
            raise
        except (PraxisError, TimeoutError) as error:
            trouble = _trouble(error)
            state = file.now.logs.get(name, LogState())
        file.keep_log(name, _heard(state, trouble))

    async def _ask_monitor(self, settings: MonitorSettings, own: OwnKeys, issued_at: int) -> None:
        file = self._file
        state = file.now.monitors.get(settings.url, MonitorState())
        trouble: Trouble = ""
        try:
            async with self._asking(settings) as fetcher:
                state = await ask_monitor(fetcher, state, own, lambda one: self._judge(one, settings.name))
            is_due = 0 < issued_at < time.time() - self._settings.merge_delay_s
            trouble = "blind" if is_due and state.own_not_before < issued_at else ""
        except PeerGone:
            raise
        except (PraxisError, TimeoutError) as error:
            trouble = _trouble(error)
        file.keep_monitor(settings.url, _heard(state, trouble))

    @asynccontextmanager
    async def _asking(self, source: LogSettings | MonitorSettings) -> AsyncIterator[Fetcher]:
        async with (
            asyncio.timeout(self._settings.source_timeout_s),
            asking(source.url, source.authority, self._settings.answer_timeout_s) as fetcher,
        ):
            yield fetcher

    async def _judge(self, seen: SeenCertificate, source: str) -> None:
        """Note a certificate that is not the page's own, by the keys as they are at this moment."""
        kind = (await self._own_keys()).wrong_with(seen)
        if kind is not None:
            self._found(finding_of(seen, kind, source, int(time.time())))

    def _found(self, finding: Finding) -> None:
        if self._file.add(finding):
            _findings.add("log" if finding.kind.startswith("log_") else "certificate")
            say("found", priority="error", kind=finding.kind)

    async def _own_keys(self) -> OwnKeys:
        try:
            keys = await ask_patiently(self._vault, ListPageKeys(), patience_s=self._settings.peer_patience_s)
        except PeerGone:
            raise
        except PraxisError as error:
            raise NoWordOfVault from error
        return OwnKeys.of(keys)

    async def _issued_at(self) -> int:
        """Give when the page's present certificate was issued; 0 if there is none, or nobody says."""
        try:
            state = await self._certificate.ask(ReadCertificate())
        except PraxisError:
            return 0
        return state.not_before if state.state == "valid" else 0


def _trouble(error: PraxisError | TimeoutError) -> Trouble:
    return TROUBLES.get(error.code, "answer") if isinstance(error, PraxisError) else "away"


def _heard(state: _State, trouble: Trouble) -> _State:
    """Note how a source is heard; `since` moves only when that changes."""
    now = int(time.time())
    since = state.since if state.since and state.trouble == trouble else now
    return replace(state, trouble=trouble, since=since, heard_at=state.heard_at if trouble else now)
