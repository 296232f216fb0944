"""`python -m appliance.disk_slot`: wires disk-slot together; no logic here. Runs once and ends."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from appliance.core.journal import say
from appliance.core.service import run
from appliance.core.settings import read_settings
from appliance.disk_slot.keeping import keep_slot
from appliance.disk_slot.kit_file import read_kit
from appliance.disk_slot.luks import BY_TPM, Luks, by_key_file
from appliance.disk_slot.settings import DiskSlotSettings
from appliance.disk_slot.slot_files import SlotFiles


async def main(_: Mapping[str, socket.socket]) -> None:
    """Keep a slot for the kit that is published, and for one that was published meanwhile."""
    settings = read_settings(DiskSlotSettings, "disk-slot")
    luks, files = Luks(settings.device), SlotFiles(Path(settings.folder))
    unlock = by_key_file(settings.key_file) if settings.key_file else BY_TPM
    kit = None
    while kit != (published := read_kit(settings.kit_public)):
        kit = published
        say("disk_slot_made" if keep_slot(luks, files, kit, unlock) else "disk_slot_kept")


if __name__ == "__main__":
    run(main)
