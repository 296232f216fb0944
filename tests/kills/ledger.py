"""What people were told, and what must therefore hold, whatever was killed. Pure: no box, no clock.

A fault is a claim that did not hold. `CLAIMS` are all of them; the tests have one each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from appliance.formats.audit_log import LogEntry

TRIES = 5
CLAIMS = (
    "every acknowledged document is there, byte for byte",
    "no half document is shown",
    "a key stores exactly one document",
    "every process is back by itself",
    "no other process ends with the killed one",
    "no try is given back, none is counted that nobody made",
    "an acknowledged link opens its documents",
    "a broken transfer resumes or says so",
    "the audit log is whole and holds what was answered",
    "people get an answer or a reason",
)
(KEPT, WHOLE, ONCE, BACK, ALONE, TRY, LINK, TRANSFER, AUDIT, ANSWER) = CLAIMS


@dataclass(frozen=True)
class Fault:
    """A claim that did not hold, and in which round."""

    claim: str
    round: str
    what: str

    def __str__(self) -> str:
        return f"{self.claim}: NOT SO: {self.what} ({self.round})"


@dataclass
class Offered:
    """A document that somebody tried to store."""

    digest: str
    keyed: bool
    acknowledged: bool = False
    attempts: int = 0


@dataclass
class Link:
    """A share whose link and PIN somebody holds."""

    share: str
    link: str
    pin: str
    digests: frozenset[str]
    wrong_asked: int = 0
    wrong_answered: int = 0
    right_asked: int = 0
    right_answered: int = 0
    left_seen: int = TRIES
    #: (file, sealed length, SHA-256) of each, from the manifest.
    files: list[tuple[str, int, str]] = field(default_factory=list)

    def most_left(self, logged_wrong: int) -> int:
        """Give how many tries may be left: none that was answered, logged or seen to be gone comes back."""
        return min(self.left_seen, TRIES - max(self.wrong_answered, logged_wrong))

    def least_left(self) -> int:
        """Give how many tries must be left: one that got no answer may count, nothing else."""
        return TRIES - self.wrong_asked - (self.right_asked - self.right_answered)

    def wrong_tries(self, left: int, logged_wrong: int) -> str:
        """Say what is wrong with `left` tries, or nothing; remembers what was seen."""
        most, least = self.most_left(logged_wrong), max(0, self.least_left())
        self.left_seen = min(self.left_seen, left)
        return "" if least <= left <= most else f"{left} tries left, expected {least} to {most}"


@dataclass
class PatientFile:
    """A patient and everything offered for them."""

    path: str
    name: str
    offered: dict[str, Offered] = field(default_factory=dict)
    #: document -> digest of the bytes that came back.
    listed: dict[str, str] = field(default_factory=dict)

    def offer(self, digest: str, *, keyed: bool) -> Offered:
        """Note an attempt to store."""
        return self.offered.setdefault(digest, Offered(digest, keyed))

    def wrong_documents(self) -> Iterable[tuple[str, str]]:
        """Give (claim, what) for everything listed or missing that must not be."""
        digests = list(self.listed.values())
        for document, digest in self.listed.items():
            if digest not in self.offered:
                yield WHOLE, f"document {document} has other bytes than any that were sent: {digest}"
        for offered in self.offered.values():
            stored = digests.count(offered.digest)
            if offered.acknowledged and not stored:
                yield KEPT, f"the document {offered.digest[:12]} was acknowledged and is gone"
            if stored > 1:
                yield ONCE if offered.keyed else WHOLE, f"the document {offered.digest[:12]} is there {stored} times"


def wrong_entries(link: Link, entries: Iterable[LogEntry]) -> str:
    """Say which opening a person was told of stands in no entry, or nothing."""
    of_share = [entry.action for entry in entries if entry.share == link.share]
    opened, wrong = of_share.count("share_opened"), of_share.count("share_pin_wrong")
    if opened < link.right_answered or opened > link.right_asked:
        return f"{opened} entries of {link.right_answered} openings"
    if wrong < link.wrong_answered or wrong > link.wrong_asked:
        return f"{wrong} entries of {link.wrong_answered} wrong PINs"
    return ""
