"""backup's settings (/etc/praxissafe/backup.toml); the store is set by staff and kept in the state folder."""

from __future__ import annotations

from appliance.core.settings import Settings


class BackupSettings(Settings, frozen=True, kw_only=True):
    """Every key has a default; a box normally has no such file."""

    state_folder: str = "/var/lib/praxissafe/backup"
    disks_folder: str = "/run/praxissafe-disks"
    restic: str = "/usr/bin/restic"
    ssh: str = "/usr/bin/ssh"
    #: How long a store may take to answer while a person waits.
    store_patience_s: float = 8.0
    #: How long a store may be silent while nobody waits.
    store_silent_s: float = 900.0
    #: How often it is looked whether something is due.
    look_every_s: float = 20.0
    erased_every_s: int = 300
