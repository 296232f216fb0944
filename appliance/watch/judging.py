"""Whose certificate it is: the page's own, or somebody's who must not have one. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from appliance.contracts.page_key import PageKeys
from appliance.contracts.watch import Finding, FindingKind
from appliance.formats.seen_certificate import SeenCertificate

#: Of an order that was on its way when the key was replaced.
REPLACED_GRACE_S = 3600


@dataclass(frozen=True)
class OwnKeys:
    """The page's name, and its keys by the SHA-256 of their SubjectPublicKeyInfo in hexadecimal."""

    host: str
    present: str = ""
    present_since: int = 0
    earlier: frozenset[str] = frozenset()

    @classmethod
    def of(cls, keys: PageKeys) -> OwnKeys:
        """Read them from vault's answer: the present one is first."""
        digests = [hashlib.sha256(one.public_key).hexdigest() for one in keys.keys]
        if not digests:
            return cls(keys.page_host.lower())
        return cls(keys.page_host.lower(), digests[0], keys.keys[0].since, frozenset(digests[1:]))

    def wrong_with(self, seen: SeenCertificate) -> FindingKind | None:
        """Say what is wrong with a certificate for this name; None if it is the page's own."""
        if not seen.key_sha256:
            return "unreadable_certificate"
        if seen.key_sha256 == self.present:
            return None
        if seen.key_sha256 not in self.earlier:
            return "foreign_certificate"
        return "replaced_key" if seen.not_before > self.present_since + REPLACED_GRACE_S else None


def finding_of(seen: SeenCertificate, kind: FindingKind, source: str, now: int) -> Finding:
    """Give the finding for a certificate; the same one from every source that shows it."""
    return Finding(
        finding=seen.finding,
        kind=kind,
        source=source,
        seen_at=now,
        names=list(seen.names),
        key_sha256=seen.key_sha256,
        issuer=seen.issuer,
        not_before=seen.not_before,
    )


def finding_about_log(log: str, kind: FindingKind, source: str, roots: bytes, now: int) -> Finding:
    """Give the finding for a log that contradicts itself; `roots` tell this contradiction from a later one."""
    name = hashlib.sha256(b"\0".join((log.encode(), kind.encode(), roots))).hexdigest()[:32]
    return Finding(finding=name, kind=kind, source=source, seen_at=now)
