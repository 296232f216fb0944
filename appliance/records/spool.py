"""The share spool: one folder per share, holding the sealed manifest and hard links to sealed files.

spool/<locator>/manifest               0640 praxis-spool
spool/<locator>/<32 hex, random>       0640 praxis-spool, the same inode as in sealed/

A share appears whole or not at all: it is built as .new-<random> (0700) and renamed; it goes by a rename to
.gone-<random> first. Folders are 0710: gateway, in the group, may open what it can name and cannot list. Nothing here
is plain: names, keys and lengths stand in the sealed manifest. Blocking; called on the file threads.
"""

from __future__ import annotations

import grp
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from appliance.core.errors import Invalid, NotFound
from appliance.core.files import sync_folder
from appliance.records.sealed_files import disk_full_is_unavailable

MANIFEST = "manifest"
FOLDER_MODE = 0o710
FILE_MODE = 0o640


class Spool:
    """The folder spool/ under the state folder; made if it is not there. Invalid("spool_group") if there is none."""

    def __init__(self, state: Path, group: str) -> None:
        try:
            self.group = grp.getgrnam(group).gr_gid
        except KeyError as error:
            raise Invalid("spool_group") from error
        self._spool = state / "spool"
        self._spool.mkdir(mode=0o700, exist_ok=True)
        self._share_with_group(self._spool, FOLDER_MODE)
        sync_folder(state)

    def publish(self, locator: str, manifest: bytes, files: Mapping[str, Path]) -> None:
        """Put a share into the spool: `files` maps its random names to sealed files.

        NotFound("document") if a sealed file is gone; nothing is left then.
        """
        building = self._spool / f".new-{os.urandom(16).hex()}"
        building.mkdir(mode=0o700)
        try:
            with disk_full_is_unavailable():
                for name, sealed in files.items():
                    os.link(sealed, building / name, follow_symlinks=False)
                    self._share_with_group(building / name, FILE_MODE)
                self._write(building / MANIFEST, manifest)
                self._share_with_group(building, FOLDER_MODE)
                sync_folder(building)
                building.rename(self._spool / locator)
                sync_folder(self._spool)
        except FileNotFoundError as error:
            raise NotFound("document") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def withdraw(self, locators: list[str]) -> None:
        """Take shares out of the spool, synced; those that are not there are already gone."""
        for locator in locators:
            gone = self._spool / f".gone-{os.urandom(16).hex()}"
            try:
                (self._spool / locator).rename(gone)
            except FileNotFoundError:
                continue
            shutil.rmtree(gone)
        sync_folder(self._spool)

    def sweep(self, live: set[str]) -> int:
        """Take out everything that is no live share, half-built and half-removed ones too; give how many."""
        dead = [entry.name for entry in os.scandir(self._spool) if entry.name not in live]
        if dead:
            self.withdraw(dead)
        return len(dead)

    def _write(self, path: Path, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            self._share_with_group(path, FILE_MODE)
            os.fsync(file.fileno())

    def _share_with_group(self, path: Path, mode: int) -> None:
        os.chown(path, -1, self.group)
        path.chmod(mode)
