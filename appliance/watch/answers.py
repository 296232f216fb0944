"""Answers local calls: what was found, how the sources are heard, and what staff have taken care of."""

from __future__ import annotations

import time

from msgspec.structs import replace

from appliance.contracts.watch import Acknowledge, Finding, Findings, ReadFindings, ReadState, Source, WatchState
from appliance.core.errors import NotFound
from appliance.core.varlink import Answers, Caller, Done
from appliance.formats.certificate_log import log_id, read_log_key
from appliance.watch.rounds import Rounds
from appliance.watch.settings import WatchSettings
from appliance.watch.state import LogState, MonitorState, StateFile


class WatchAnswers:
    """Answers about the watch."""

    def __init__(self, settings: WatchSettings, file: StateFile, rounds: Rounds) -> None:
        self._settings = settings
        self._logs = {log.name: log_id(read_log_key(log.key)) for log in settings.logs}
        self._file = file
        self._rounds = rounds

    def table(self) -> Answers:
        """Give the table of de.praxissafe.Watch."""
        return {
            ReadFindings: self.answer_read_findings,
            Acknowledge: self.answer_acknowledge,
            ReadState: self.answer_read_state,
        }

    async def answer_read_findings(self, _: ReadFindings, __: Caller) -> Findings:
        """Give what was found."""
        found = sorted(self._file.now.findings, key=lambda one: (one.acknowledged_at > 0, -one.seen_at))
        return Findings(findings=found, open=sum(not one.acknowledged_at for one in found))

    async def answer_acknowledge(self, call: Acknowledge, _: Caller) -> Done:
        """Note that a finding was taken care of; a log that it is about is followed anew."""
        state = self._file.now
        if all(one.finding != call.finding for one in state.findings):
            raise NotFound("finding")
        self._file.change(
            findings=[_acknowledged(one) if one.finding == call.finding else one for one in state.findings],
            logs={name: log for name, log in state.logs.items() if log.broken != call.finding},
        )
        return Done()

    async def answer_read_state(self, _: ReadState, __: Caller) -> WatchState:
        """Say how every source is heard."""
        state = self._file.now
        logs = [(log.name, state.logs.get(self._logs[log.name], LogState())) for log in self._settings.logs]
        monitors = [(one.name, state.monitors.get(one.url, MonitorState())) for one in self._settings.monitors]
        sources = [
            Source(
                name=name,
                kind="log",
                trouble=log.trouble,
                since=log.since,
                heard_at=log.heard_at,
                entries=log.head.size if log.head else 0,
                read=log.edge.size,
            )
            for name, log in logs
        ]
        sources += [
            Source(
                name=name,
                kind="monitor",
                trouble=one.trouble,
                since=one.since,
                heard_at=one.heard_at,
                entries=one.told,
                read=one.told,
            )
            for name, one in monitors
        ]
        return WatchState(host=state.host, sources=sources, next_at=self._rounds.next_at)


def _acknowledged(finding: Finding) -> Finding:
    return finding if finding.acknowledged_at else replace(finding, acknowledged_at=int(time.time()))
