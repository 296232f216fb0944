"""watch and certificate, played for the practice's pages: what they answer is set here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from appliance.contracts.certificate import CertificateState, Renew, ReplaceKey
from appliance.contracts.certificate import ReadState as ReadCertificate
from appliance.contracts.watch import Acknowledge, Finding, Findings, ReadFindings, ReadState, Source, WatchState
from appliance.core.errors import NotFound
from appliance.core.varlink import Done

ACCOUNT = "https://authority.example/acme/acct/1234567890"


@dataclass
class PlayedWatch:
    """What was found, and how the sources are heard."""

    findings: list[Finding] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    now: int = 1_800_000_000

    def table(self) -> dict[Any, Any]:
        return {ReadFindings: self._findings, Acknowledge: self._acknowledge, ReadState: self._state}

    def found(self, kind: str = "foreign_certificate", number: int = 1) -> Finding:
        finding = Finding(
            finding=f"{number:032x}",
            kind=kind,
            source="monitor.example",
            seen_at=self.now,
            names=[] if kind.startswith("log_") else ["*.portal.example"],
            key_sha256="" if kind.startswith("log_") else "ab" * 32,
            issuer="" if kind.startswith("log_") else "Some <b>Authority</b>",
            not_before=0 if kind.startswith("log_") else self.now - 3600,
        )
        self.findings.append(finding)
        return finding

    async def _findings(self, *_: object) -> Findings:
        return Findings(findings=list(self.findings), open=sum(not one.acknowledged_at for one in self.findings))

    async def _acknowledge(self, call: Acknowledge, *_: object) -> Done:
        if call.finding not in [one.finding for one in self.findings]:
            raise NotFound("finding")
        self.findings = [
            replace(one, acknowledged_at=self.now) if one.finding == call.finding else one for one in self.findings
        ]
        return Done()

    async def _state(self, *_: object) -> WatchState:
        return WatchState(host="box.portal.example", sources=list(self.sources), next_at=self.now + 3600)


def source(name: str, now: int, trouble: str = "", *, kind: str = "log", read: int = 5, entries: int = 5) -> Source:
    return Source(
        name=name, kind=kind, trouble=trouble, since=now - 7200, heard_at=now - 7200, entries=entries, read=read
    )


@dataclass
class PlayedCertificate:
    """How the certificate is; `replaced` counts."""

    state: CertificateState = field(default_factory=lambda: certificate_state(1_800_000_000))
    replaced: int = 0

    def table(self) -> dict[Any, Any]:
        return {ReadCertificate: self._state, ReplaceKey: self._replace, Renew: self._renew}

    async def _state(self, *_: object) -> CertificateState:
        return self.state

    async def _renew(self, *_: object) -> Done:
        return Done()

    async def _replace(self, *_: object) -> Done:
        self.replaced += 1
        self.state = replace(self.state, replacing=True, revoking=True)
        return Done()


def certificate_state(now: int, **more: Any) -> CertificateState:
    values = {
        "state": "valid",
        "step": "none",
        "not_before": now - 86_400,
        "not_after": now + 6 * 86_400,
        "next_attempt_at": now + 3 * 86_400,
        "last_problem": "",
        "last_problem_at": 0,
        "replacing": False,
        "revoking": False,
        "directory": "https://authority.example/directory",
        "account": ACCOUNT,
    }
    return CertificateState(**{**values, **more})
