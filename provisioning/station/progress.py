"""How far a box has come: seven steps, each with the time it was done. Pure.

Rules it keeps: a step that is done stays done; a box is known by its id and its device key's fingerprint from the
step "keys" on; no claim code and no key is part of it (the fingerprint is of the public half). Format:
docs/formats/station-state.md.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec.structs import replace

from appliance.core.errors import PraxisError

Step = Literal["reached", "keys", "sheet", "registered", "closed", "printed", "handed_over"]
STEPS: tuple[Step, ...] = ("reached", "keys", "sheet", "registered", "closed", "printed", "handed_over")
State = Literal["done", "failed", "missing"]

SERIAL_PATTERN = r"^[A-Z0-9-]{4,32}$"
Seconds = Annotated[int, msgspec.Meta(ge=0)]


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the technician asked for: enough to run again, nothing secret. Host names may hold `{box}`."""

    bench_address: str
    portal_address: str
    portal_name: str
    page_host: str
    page_port: int
    lan_host: str
    lan_port: int


class LastFailure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the last run ended, if it did not end well."""

    step: Step
    family: str
    code: str
    #: What its words need: the other serial, a number.
    facts: dict[str, int | str] = {}
    at: Seconds


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One box, as its state file has it; `issued_at` is its device record's: a repeated record is the same one."""

    version: Literal[1] = 1
    serial: Annotated[str, msgspec.Meta(pattern=SERIAL_PATTERN)]
    place: Place | None = None
    bench_sha256: str = ""
    box: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?$")] = ""
    device_fingerprint: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    #: SHA-256 of the TPM's endorsement key, from step "keys" on.
    endorsement_fingerprint: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    #: Maker and model of the TPM, once it has proven itself to the portal.
    tpm: Annotated[str, msgspec.Meta(max_length=64)] = ""
    issued_at: Seconds = 0
    done: dict[Step, Seconds] = {}
    failure: LastFailure | None = None

    def has(self, step: Step) -> bool:
        """Say whether a step is done."""
        return step in self.done


def next_step(progress: Progress) -> Step | None:
    """Give the first step that is missing, None when all is done."""
    return next((step for step in STEPS if step not in progress.done), None)


def state_of(progress: Progress, step: Step) -> State:
    """Say how a step stands."""
    if step in progress.done:
        return "done"
    return "failed" if progress.failure is not None and progress.failure.step == step else "missing"


def with_place(progress: Progress, place: Place, now: int) -> Progress:
    """Give the progress of a run that was asked for: other names make another, later device record."""
    issued_at, before = progress.issued_at, progress.place
    if issued_at and before and (before.page_host, before.portal_name) != (place.page_host, place.portal_name):
        issued_at = max(now, issued_at + 1)
    return replace(progress, place=place, issued_at=issued_at)


def with_step(progress: Progress, step: Step, now: int, **facts: str | int) -> Progress:
    """Give the progress after a step; a step done before keeps its time."""
    return replace(progress, done={step: now} | progress.done, failure=None, **facts)


def with_failure(progress: Progress, failure: PraxisError, now: int) -> Progress:
    """Give the progress after a run that ended at the first missing step."""
    step = next_step(progress)
    if step is None:
        return progress
    return replace(
        progress,
        failure=LastFailure(step=step, family=failure.family, code=failure.code, facts=failure.details, at=now),
    )


def is_same_device(progress: Progress, box: str, device_fingerprint: str) -> bool:
    """Say whether this is the box that was seen before under this serial; any box is, while none was."""
    return not progress.box or (progress.box, progress.device_fingerprint) == (box, device_fingerprint)


def is_duplicate(other: Progress, serial: str, box: str, device_fingerprint: str, endorsement: str) -> bool:
    """Say whether `other` is another serial that has this box, this device key or this TPM."""
    return other.serial != serial and (
        other.box == box
        or other.device_fingerprint == device_fingerprint
        or other.endorsement_fingerprint == endorsement
    )
