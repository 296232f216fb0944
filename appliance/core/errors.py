"""The five families of failure, told apart by what the caller can do about them.

Rules: a code is a stable snake_case word from the contract, never the text of an exception, and carries no
value of a person's. Between processes only family and code travel. A failure outside these families is a bug:
the process ends and systemd restarts it (docs/processes.md).
"""

from __future__ import annotations

from typing import ClassVar


class PraxisError(Exception):
    """A foreseen failure; `code` says which one. `family` is the word sent between processes."""

    family: ClassVar[str] = ""

    def __init__(self, code: str, /, **details: int | str) -> None:
        super().__init__(f"{type(self).__name__}: {code}")
        self.code = code
        #: Small facts a caller acts on (tries left, a limit). Never a name, a secret or a path.
        self.details = details


class Refused(PraxisError):
    """The caller may not do this; asking again does not help."""

    family = "Refused"


class Invalid(PraxisError):
    """The input is wrong; the caller can correct it."""

    family = "Invalid"


class Unavailable(PraxisError):
    """Not now: a peer is away, a limit is reached, a resource is full; asking later may help."""

    family = "Unavailable"


class Tampered(PraxisError):
    """Bytes fail their authenticity check; nothing of them may be used."""

    family = "Tampered"


class NotFound(PraxisError):
    """There is no such thing for this caller."""

    family = "NotFound"


FAMILIES: dict[str, type[PraxisError]] = {
    family.family: family for family in (Refused, Invalid, Unavailable, Tampered, NotFound)
}
