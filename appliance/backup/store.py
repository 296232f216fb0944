"""Where copies go: checks what staff entered, keeps it, and says how restic reaches it.

Keeps: the secret and the repository's earlier password lie in one file that nobody else may read, and go to restic by
its environment; everything else of the store may be an argument. Nothing is dialled here.
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec

from appliance.backup.folders import Folders
from appliance.backup.login_key import login_key
from appliance.backup.restic import Access
from appliance.backup.settings import BackupSettings
from appliance.contracts.backup import Store, StoreState
from appliance.core.errors import Invalid, Refused, Unavailable
from appliance.core.files import write_whole

#: The repository's folder on a disk or share that may hold other things.
REPOSITORY_FOLDER = "praxissafe"
#: The name that the pinned host key has in our known_hosts file, whatever the server is called (ssh_config(5)).
HOST_KEY_ALIAS = "praxissafe-store"
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z|[0-9A-Fa-f:]{2,45}\Z")
_PATH = re.compile(r"(/[A-Za-z0-9._~@+-]+)*/?\Z")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_KEY_TYPES = frozenset(
    {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"}
)
_SCHEMES = {"sftp": "sftp", "s3": "https", "rest": "https"}


class KeptStore(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The store as it is kept. `password_before`: opens the repository until it knows the kit's own password."""

    store: Store
    set_at: int
    overwritable: bool = True
    password_before: str = ""

    def __repr__(self) -> str:
        return f"KeptStore({self.store.kind})"


def check_store(store: Store) -> None:
    """Check the form; Invalid("store_place"), Invalid("store_server_key")."""
    if "\0" in store.user + store.secret or "\n" in store.user + store.secret:
        raise Invalid("store_place")
    if store.kind in ("disk", "folder"):
        if not _FOLDER.match(store.place):
            raise Invalid("store_place")
        return
    try:
        parts = urlsplit(store.place)
        port = parts.port
    except ValueError as error:
        raise Invalid("store_place") from error
    well_formed = (
        parts.scheme == _SCHEMES[store.kind]
        and _HOST.match(parts.hostname or "")
        and _PATH.match(parts.path)
        and ".." not in parts.path.split("/")
        and not (parts.query or parts.fragment or parts.password)
        and port != 0
    )
    if not well_formed:
        raise Invalid("store_place")
    if store.kind == "sftp":
        if not _USER.match(parts.username or "") or parts.path in ("", "/"):
            raise Invalid("store_place")
        server_key(store.server_key)
    elif parts.username is not None:
        raise Invalid("store_place")
    if store.kind == "s3" and not (_BUCKET.match(parts.path.split("/")[1] if parts.path else "") and store.user):
        raise Invalid("store_place")


def server_key(line: str) -> str:
    """Give type and key of a known_hosts line or a public key file's; Invalid("store_server_key")."""
    words = line.split()
    for place, word in enumerate(words[:-1]):
        if word in _KEY_TYPES:
            try:
                raw = base64.b64decode(words[place + 1], validate=True)
            except binascii.Error as error:
                raise Invalid("store_server_key") from error
            if raw[4 : 4 + len(word)] == word.encode():
                return f"{word} {words[place + 1]}"
    raise Invalid("store_server_key")


class Stores:
    """The one store that this box has, and what belongs to it in the private folder."""

    def __init__(self, folders: Folders, settings: BackupSettings) -> None:
        self._folders = folders
        self._disks = Path(settings.disks_folder)
        self._ssh = settings.ssh
        self._file = folders.private / "store.json"
        self._key = folders.private / "login_key"
        self.login_key = login_key(self._key)
        self.kept: KeptStore | None = None
        if self._file.exists():
            self.kept = msgspec.json.decode(self._file.read_bytes(), type=KeptStore)

    def required(self) -> KeptStore:
        """Give the store; Refused("no_store")."""
        if self.kept is None:
            raise Refused("no_store")
        return self.kept

    def keep(self, store: KeptStore) -> None:
        """Keep a store in place of the one before; synced. Unavailable("storage")."""
        try:
            write_whole(self._file, msgspec.json.encode(store), mode=0o600)
        except OSError as error:
            raise Unavailable("storage") from error
        self.kept = store

    def forget(self) -> None:
        """Forget it."""
        self._file.unlink(missing_ok=True)
        self.kept = None

    def password_before(self, store: Store) -> str:
        """Give what opens the repository until the kit's password does, if this is the store that is kept."""
        kept = self.kept
        is_same = kept is not None and (kept.store.kind, kept.store.place) == (store.kind, store.place)
        return kept.password_before if kept is not None and is_same else ""

    def shown(self) -> StoreState | None:
        """Give it as it may be shown."""
        if self.kept is None:
            return None
        store = self.kept.store
        return StoreState(
            kind=store.kind,
            place=store.place,
            user=store.user,
            overwritable=self.kept.overwritable,
            login_key=self.login_key if store.kind == "sftp" else "",
            set_at=self.kept.set_at,
        )

    def access(self, store: Store) -> Access:
        """Say how restic reaches it; lays out what it reads from files. Unavailable("store_away"): no disk."""
        options: tuple[str, ...] = ()
        environment: dict[str, str] = {}
        if store.kind in ("disk", "folder"):
            folder = self._disks / store.place
            if not folder.is_dir():  # what is not mounted would be written into memory
                raise Unavailable("store_away")
            repository = str(folder / REPOSITORY_FOLDER)
        elif store.kind == "sftp":
            parts = urlsplit(store.place)
            repository = f"sftp://{parts.netloc}/{parts.path}"
            options = ("-o", f"sftp.command={self._ssh_command(store)}")
        elif store.kind == "s3":
            repository = f"s3:{store.place}"
            environment = {"AWS_ACCESS_KEY_ID": store.user, "AWS_SECRET_ACCESS_KEY": store.secret}
        else:
            parts = urlsplit(store.place)
            login = f"{quote(store.user, safe='')}:{quote(store.secret, safe='')}@" if store.user else ""
            repository = f"rest:https://{login}{parts.netloc}{parts.path.rstrip('/')}/"
        if store.authority and store.kind in ("s3", "rest"):
            write_whole(self.authority, store.authority.encode(), mode=0o600)
            options = ("--cacert", str(self.authority))
        return Access({"RESTIC_REPOSITORY": repository, **environment}, options)

    @property
    def authority(self) -> Path:
        """The authority that signed the store's certificate, where no public one did."""
        return self._folders.private / "authority.pem"

    def _ssh_command(self, store: Store) -> str:
        parts = urlsplit(store.place)
        known_hosts = self._folders.private / "known_hosts"
        write_whole(known_hosts, f"{HOST_KEY_ALIAS} {server_key(store.server_key)}\n".encode(), mode=0o600)
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "GlobalKnownHostsFile": "/dev/null",
            "HostKeyAlias": HOST_KEY_ALIAS,
            "IdentitiesOnly": "yes",
            "IdentityFile": str(self._key),
            "PasswordAuthentication": "no",
            "ServerAliveCountMax": "4",
            "ServerAliveInterval": "30",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "UserKnownHostsFile": str(known_hosts),
        }
        words = [self._ssh, "-F", "none", *(word for name in options for word in ("-o", f"{name}={options[name]}"))]
        words += ["-p", str(parts.port or 22), "-l", parts.username or "", parts.hostname or "", "-s", "sftp"]
        return shlex.join(words)
