"""Settings of records."""

from __future__ import annotations

from appliance.core.settings import Settings


class RecordsSettings(Settings, frozen=True):
    """Where the state is, and who besides records may traverse the spool.

    `reserve_bytes` stays free on the disk, so that the database can still erase and the log still be written when
    documents have filled the rest. backup lays what it fetched into `restored_folder`.
    """

    state_folder: str = "/var/lib/praxissafe/records"
    restored_folder: str = "/var/lib/praxissafe/backup/restored"
    spool_group: str = "praxis-spool"
    reserve_bytes: int = 64 * 1024 * 1024
