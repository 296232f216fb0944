"""de.praxissafe.Snapshots: a copy of everything for backup to carry away, and the way back into records. All sealed.

records lays a snapshot into its folder snapshot/, which backup may read; backup lays what it fetched into its folder
restored/, which records may read. Layout of both: docs/formats/backup.md. No session: these verbs give no content.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from appliance.contracts.values import Id, Seconds
from appliance.core.varlink import Call, Done, Interface

_BY_BACKUP = frozenset({"backup"})

#: One of the 256 folders that sealed files lie in.
Folder = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{2}$")]
FOLDERS = tuple(f"{number:02x}" for number in range(256))
Folders = Annotated[list[Folder], msgspec.Meta(min_length=1, max_length=256)]
Bundle = Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096)]


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


class Contents(Struct):
    """How much there is: rows of patients and documents, sealed files (documents and previews) and their bytes."""

    patients: int
    documents: int
    files: int
    bytes: int


class Snapshot(Struct):
    """A snapshot that lies ready in snapshot/current."""

    taken_at: Seconds
    contents: Contents


class MakeSnapshot(Call[Snapshot]):
    """Lay database and sealed files, as they were at one moment, into snapshot/current, in place of an earlier one.

    Unavailable("disk_full"), Unavailable("restoring").
    """

    reply: ClassVar = Snapshot
    callers: ClassVar = _BY_BACKUP


class DropSnapshot(Call[Done]):
    """Take the snapshot away, if there is one: what is erased from now on is not kept by it."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_BACKUP


class ErasedList(Struct):
    """The list of what was erased: how many identifiers, when the last came (0: none), and which kit proves it."""

    identifiers: int
    changed_at: Seconds
    proof: Annotated[str, msgspec.Meta(max_length=64)] = ""


class WriteErasedList(Call[ErasedList]):
    """Lay the list of what was erased into snapshot/erased.json, which backup keeps beside the generations."""

    reply: ClassVar = ErasedList
    callers: ClassVar = _BY_BACKUP


class CheckCopy(Call[Contents]):
    """The restore test: open the fetched database and hold it, and the fetched files in `folders`, against the rows.

    Answers what the copy holds; `files` and `bytes` are of what was read. Tampered("copy_database"),
    Tampered("copy_files", count) if files are missing or are not what their rows say, NotFound("copy"),
    Tampered("copy_counts") if it does not hold what the last snapshot held.
    """

    reply: ClassVar = Contents
    callers: ClassVar = _BY_BACKUP

    folders: Annotated[list[Folder], msgspec.Meta(max_length=256)]


class OpenedCopy(Struct):
    """A generation of another box, whose rows are here now. `folders` still lack their files."""

    box: Id
    generation: int
    sealed_at: Seconds
    contents: Contents
    folders: list[Folder]


class OpenCopy(Call[OpenedCopy]):
    """Take in the rows of the fetched database, keys wrapped anew. From then on only this interface is answered.

    A second call with the same generation goes on where the first was interrupted; another generation begins anew.
    Refused("not_empty") if this box has patients of its own; Refused("no_restore") unless vault holds two sheets;
    Tampered("bundle"), Tampered("copy_database"), NotFound("copy"), Invalid("database_version") if a later release
    wrote it, Unavailable("disk_full").
    """

    reply: ClassVar = OpenedCopy
    callers: ClassVar = _BY_BACKUP

    bundle: Bundle


class AdoptedFiles(Struct):
    """What was taken over. `missing`: files that rows name and that are not there, or are not what the row says."""

    files: int
    bytes: int
    missing: int


class AdoptFiles(Call[AdoptedFiles]):
    """Take over the fetched files of some folders: copied, their digests compared, synced. May be repeated.

    Refused("no_copy") before OpenCopy; Unavailable("disk_full").
    """

    reply: ClassVar = AdoptedFiles
    callers: ClassVar = _BY_BACKUP

    folders: Folders


class Restored(Struct):
    """What is here now. `erased`: documents that the old box erased after this generation, and now this one too."""

    contents: Contents
    erased: int
    missing: int
    shares: int


class FinishRestore(Call[Restored]):
    """Erase again what the old box had erased since (restored/snapshot/erased.json), then answer everyone again.

    `shares` that were open are dead, and may be made anew (Records.ListEarlierShares). Documents whose file is
    missing, or whose key does not open, keep their row and are counted. Refused("no_copy"); Refused("folders_left")
    before every folder is adopted; NotFound("erased_list") if no list lies there, Tampered("erased_list") if it was
    not written by a box of this kit (Vault.CheckErasedList): backup then fetches an older one, and says
    `without_list` once it has none left.
    """

    reply: ClassVar = Restored
    callers: ClassVar = _BY_BACKUP

    without_list: bool = False


class AbandonRestore(Call[Done]):
    """Give up: take all rows and files of the copy away again. Nothing to give up changes nothing."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_BACKUP


SNAPSHOTS = Interface.of(
    "de.praxissafe.Snapshots",
    __file__,
    MakeSnapshot,
    DropSnapshot,
    WriteErasedList,
    CheckCopy,
    OpenCopy,
    AdoptFiles,
    FinishRestore,
    AbandonRestore,
)
