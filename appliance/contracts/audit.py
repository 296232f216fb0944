"""de.praxissafe.Audit: append an entry, read entries. Nothing can be changed or removed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.contracts.values import Id, Seconds
from appliance.core.varlink import Call, Interface

Action = Literal[
    "box_provisioned",
    "box_claimed",
    "staff_logged_in",
    "staff_login_refused",
    "staff_invited",
    "staff_joined",
    "staff_removed",
    "password_changed",
    "device_made",
    "device_revoked",
    "patient_made",
    "patient_corrected",
    "patient_deleted",
    "document_added",
    "document_read",
    "document_found",
    "document_erased",
    "document_erased_wrong_patient",
    "document_erased_duplicate",
    "document_erased_no_record",
    "document_erased_older_treatment",
    "share_made",
    "share_opened",
    "share_pin_wrong",
    "share_closed",
    "share_revoked",
    "box_locked",
    "box_unlocked",
    "unlock_pin_wrong",
    "unlocking_chosen",
    "computer_paired",
    "computer_removed",
    "kit_made",
    "kit_sheet_checked",
    "kit_check_failed",
    "restore_begun",
    "restore_refused",
    "restore_ended",
    "restore_finished",
    "reset_refused",
    "box_reset",
]


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


class Entry(Struct):
    """One entry. Identifiers are random pseudonyms; "" where an entry has none. No names, no free text."""

    index: int
    at: Seconds
    process: str
    action: Action
    actor: str = ""
    patient: str = ""
    document: str = ""
    share: str = ""


class Appended(Struct):
    """Where the entry stands and the log's head after it (SHA-256), already on disk."""

    index: int
    head: bytes


class Append(Call[Appended]):
    """Append an entry; answered only when it is synced. The process is the kernel's word, not the caller's."""

    reply: ClassVar = Appended
    callers: ClassVar = frozenset({"vault", "records"})

    action: Action
    actor: Id | None = None
    patient: Id | None = None
    document: Id | None = None
    share: Id | None = None


class Entries(Struct):
    """Entries, newest first, and the number of all entries."""

    entries: list[Entry]
    size: int
    head: bytes


class ReadEntries(Call[Entries]):
    """Read entries with an index below `before` (all if none), of one patient if given."""

    reply: ClassVar = Entries
    callers: ClassVar = frozenset({"records", "root"})

    before: int | None = None
    patient: Id | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


AUDIT = Interface.of("de.praxissafe.Audit", __file__, Append, ReadEntries)
