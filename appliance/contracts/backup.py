"""de.praxissafe.Backup: where the copies go, how the last one went, and the way back on another box.

Every verb carries a session of a member of staff, which backup has vault check.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from appliance.contracts.values import Seconds, Token
from appliance.core.varlink import Call, Done, Interface

_BY_PRACTICE = frozenset({"practice"})

#: disk: a USB disk, overwritten by whoever holds it; folder: a mounted share (SMB, NFS); the others over the network.
StoreKind = Literal["disk", "folder", "sftp", "s3", "rest"]
#: What a backup or a restore does at the moment.
StepName = Literal["snapshot", "upload", "fetch", "check", "adopt", "finish"]
Text = Annotated[str, msgspec.Meta(max_length=1024)]
LongText = Annotated[str, msgspec.Meta(max_length=16384)]


class Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of this interface's values."""


class Store(Struct):
    """Where copies go. `place`: the folder's name (disk, folder), or an address without credentials.

    sftp: sftp://user@host[:port]/path, with the server's public host key (a known_hosts line) in `server_key`; s3:
    https://host/bucket[/path] with key identifier and secret; rest: https://host[:port]/path with user and password.
    `authority`: PEM of the authority that signed the store's certificate, if no public one did.
    """

    kind: StoreKind
    place: Text
    user: Text = ""
    secret: Text = ""
    server_key: Text = ""
    authority: LongText = ""

    def __repr__(self) -> str:
        return f"Store({self.kind})"


class StoreState(Struct):
    """The store as it may be shown: without its secret. `overwritable`: what is there can be changed or removed.

    `login_key`: the public key (authorized_keys line) that the SFTP server has to admit, "" for other kinds.
    """

    kind: StoreKind
    place: str
    user: str
    overwritable: bool
    login_key: str
    set_at: Seconds


class Running(Struct):
    """Work under way: its step, and how far that is. `total_bytes` 0: not known yet."""

    work: Literal["backup", "restore"]
    step: StepName
    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int
    began_at: Seconds


class Generation(Struct):
    """A generation in the store. `tested_at` 0: not fetched back yet (of an earlier box: never)."""

    generation: int
    made_at: Seconds
    tested_at: Seconds
    documents: int
    bytes: int


class Outcome(Struct):
    """How the last backup or restore ended. `code` "" is well; otherwise an error's code.

    A code of the verbs here, of Vault or of Snapshots; or store_locked, store_failed, repository_damaged,
    keys_turning, storage (this box cannot keep what it must).
    """

    at: Seconds
    code: str
    documents: int = 0
    bytes: int = 0
    took_s: int = 0
    #: After a restore: the box it came from, and what FinishRestore said.
    box: str = ""
    erased: int = 0
    missing: int = 0
    shares: int = 0


class BackupState(Struct):
    """All that the page shows. `next_at`: when the next backup begins by itself; 0 without a store or a kit.

    `keep_days`: for how long what was erased can still be in a generation; 0: for ever as far as this box can tell,
    because it may only append. `login_key`: what an SFTP server has to admit before SetStore can succeed.
    """

    store: StoreState | None
    running: Running | None
    last_backup: Outcome | None
    last_good_at: Seconds
    last_restore: Outcome | None
    next_at: Seconds
    generations: list[Generation]
    keep_days: int
    login_key: str = ""


class DescribeBackup(Call[BackupState]):
    """Say how it stands; asks nothing of the store."""

    reply: ClassVar = BackupState
    callers: ClassVar = _BY_PRACTICE

    session: Token


class SetStore(Call[StoreState]):
    """Try a store and keep it: a repository is made there if there is none, or opened with the kit's password.

    With `old`, for a restore: the repository must be there already and is opened with the password of the sheets
    that vault holds. Refused("no_kit"), Refused("no_restore"), Refused("busy"), Invalid: "store_place" (its form),
    "store_server_key"; Unavailable: "store_away" (not reached), "store_refused" (login or rights),
    "store_certificate", "store_full"; NotFound("repository"); Refused("repository_password") if a repository of
    another kit lies there.
    """

    reply: ClassVar = StoreState
    callers: ClassVar = _BY_PRACTICE

    session: Token
    store: Store
    old: bool = False


class ForgetStore(Call[Done]):
    """Make no more copies; what lies in the store stays. Refused("busy")."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token


class StartBackup(Call[Done]):
    """Begin a backup now and answer at once. Refused("no_store"), Refused("no_kit"), Refused("busy")."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token


class ReadGenerations(Call[BackupState]):
    """Ask the store which generations there are (after SetStore with `old`: the old box's). Errors as SetStore."""

    reply: ClassVar = BackupState
    callers: ClassVar = _BY_PRACTICE

    session: Token


class StartRestore(Call[Done]):
    """Bring everything back from a generation and answer at once; a repetition goes on where one was interrupted.

    Refused("no_store"), Refused("no_restore") unless vault holds two sheets, Refused("busy"), NotFound("generation").
    Refused("not_empty") is found out later, and is the code of its outcome.
    """

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token
    generation: Annotated[int, msgspec.Meta(ge=1, le=2**62)]


class AbandonRestore(Call[Done]):
    """Give up a restore that cannot be finished; the box is empty again then. Refused("busy")."""

    reply: ClassVar = Done
    callers: ClassVar = _BY_PRACTICE

    session: Token


BACKUP = Interface.of(
    "de.praxissafe.Backup",
    __file__,
    DescribeBackup,
    SetStore,
    ForgetStore,
    StartBackup,
    ReadGenerations,
    StartRestore,
    AbandonRestore,
)
