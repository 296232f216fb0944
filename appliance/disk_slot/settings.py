"""disk-slot's settings (/etc/praxissafe/disk-slot.toml)."""

from __future__ import annotations

from appliance.core.settings import Settings


class DiskSlotSettings(Settings, frozen=True, kw_only=True):
    """Which disk, where vault publishes the kit, where the sealed files go. A box needs no such file.

    `key_file` authorises the new slot where the disk has no TPM to open it; "" on a box, whose TPM does.
    """

    device: str = "/dev/disk/by-partlabel/praxissafe-data"
    kit_public: str = "/var/lib/praxissafe/vault/kit-public"
    folder: str = "/boot/praxissafe"
    key_file: str = ""
