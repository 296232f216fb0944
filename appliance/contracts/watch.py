"""de.praxissafe.Watch: what certificate logs tell about the box's name; findings for the practice."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.contracts.values import Id, Seconds
from appliance.core.varlink import Call, Done, Interface

_BY = frozenset({"practice", "root"})

FindingKind = Literal[
    "foreign_certificate",
    "replaced_key",
    "unreadable_certificate",
    "log_forked",
    "log_went_back",
    "log_differs",
]
#: Why a source says nothing at the moment; "": it is heard.
Trouble = Literal["", "away", "busy", "certificate", "answer", "signature", "stale", "blind", "broken"]


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


class Finding(Struct):
    """Something that must not be. `acknowledged_at` is 0 while nobody has said that it was taken care of.

    foreign_certificate: a certificate for the box's name with a key that is not the page's; replaced_key: made for a
    key of the page after that key was replaced; unreadable_certificate: it holds the name and cannot be read,
    `issuer` is the SHA-256 of its bytes. log_forked: two heads, signed by the log, that do not continue each other;
    log_went_back: a later head with fewer entries; log_differs: entries that are not those its head stands for.
    `source` is the log or monitor, by its name in the settings; texts of strangers are short and printable.
    """

    finding: Id
    kind: FindingKind
    source: str
    seen_at: Seconds
    acknowledged_at: Seconds = 0
    names: list[str] = []
    key_sha256: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    issuer: str = ""
    not_before: Seconds = 0


class Findings(Struct):
    """Findings, those that nobody acknowledged first, newest first; and how many of them nobody acknowledged."""

    findings: list[Finding]
    open: int


class ReadFindings(Call[Findings]):
    """Give what was found."""

    reply: ClassVar = Findings
    callers: ClassVar = _BY


class Acknowledge(Call[Done]):
    """Note that a finding was taken care of; it stays listed. A log is followed anew then. NotFound("finding")."""

    reply: ClassVar = Done
    callers: ClassVar = frozenset({"practice"})

    finding: Id


class Source(Struct):
    """A log or a monitor: how it is heard, and since when. `entries` of which `read` were looked through (logs).

    Monitors: `read` counts certificates it told for the box's name. blind: it does not tell the box's own
    certificate, a day after it was issued; so its silence means nothing.
    """

    name: str
    kind: Literal["log", "monitor"]
    trouble: Trouble
    since: Seconds
    heard_at: Seconds
    entries: int
    read: int


class WatchState(Struct):
    """Who is asked, for which name ("" before vault has said it), and when the next round begins."""

    host: str
    sources: list[Source]
    next_at: Seconds


class ReadState(Call[WatchState]):
    """Say how the watch goes."""

    reply: ClassVar = WatchState
    callers: ClassVar = _BY


WATCH = Interface.of("de.praxissafe.Watch", __file__, ReadFindings, Acknowledge, ReadState)
