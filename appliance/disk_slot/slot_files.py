"""The sealed files on the boot partition, one for each slot: `disk-slot-<number>`.

A new slot's file comes beside the old one's, never in its place: the partition is FAT, where rename(2) over a file is
more than one write, and a power cut between them could leave neither. No mode is set: FAT has none.
"""

from __future__ import annotations

import os
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.core.files import sync_folder
from appliance.formats.disk_slot import DISK_SLOT_BYTES

PREFIX = "disk-slot-"
NEW = ".new"


class SlotFiles:
    """The folder of sealed files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, slot: int) -> bytes:
        """Give a slot's file; no bytes if there is none that can be read, at most one more than a good one has."""
        try:
            with self._path(slot).open("rb") as file:
                return file.read(DISK_SLOT_BYTES + 1)
        except OSError:
            return b""

    def write(self, slot: int, sealed: bytes) -> None:
        """Write a slot's file, synced; Unavailable("boot_partition")."""
        path = self._path(slot)
        new = path.with_name(path.name + NEW)
        try:
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            sync_folder(self._folder)
        except OSError as error:
            raise Unavailable("boot_partition") from error

    def keep_only(self, slots: set[int]) -> None:
        """Remove the files of all other slots, and what a cut left half written; Unavailable("boot_partition")."""
        kept = {self._path(slot).name for slot in slots}
        try:
            others = [path for path in self._folder.glob(f"{PREFIX}*") if path.name not in kept]
            for path in others:
                path.unlink()
            if others:
                sync_folder(self._folder)
        except OSError as error:
            raise Unavailable("boot_partition") from error

    def _path(self, slot: int) -> Path:
        return self._folder / f"{PREFIX}{slot}"
