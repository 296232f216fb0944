"""The folder snapshot/ under the state folder, which backup may read: a copy of the database, and hard links.

snapshot/current/…        whole, synced; layout: docs/formats/backup.md
snapshot/.new, .old       half made, or being replaced; removed at start
snapshot/erased.json      the list of what was erased

A snapshot appears whole or not at all. Everything in it is sealed; the group may read, and reaches only what its unit
shows it. Blocking; called on the file threads.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from appliance.core.files import sync_folder
from appliance.records.sealed_files import disk_full_is_unavailable

FOLDER_MODE = 0o750
FILE_MODE = 0o640


class SnapshotFolder:
    """Made if it is not there; `group` is the number of the group that may read."""

    def __init__(self, state: Path, group: int) -> None:
        self._group = group
        self._sealed = state / "sealed"
        self._top = state / "snapshot"
        self._new = self._top / ".new"
        self._old = self._top / ".old"
        self._current = self._top / "current"
        if not self._top.exists():
            self._make_folder(self._top)
            sync_folder(state)

    def sweep(self) -> None:
        """Remove what is half made."""
        for folder in (self._new, self._old):
            shutil.rmtree(folder, ignore_errors=True)

    def begin(self) -> Path:
        """Begin anew; give where the database's copy goes."""
        self.sweep()
        self._make_folder(self._new)
        self._make_folder(self._new / "sealed")
        return self._new / "records.db"

    def link(self, folder: str, files: Iterable[str]) -> int:
        """Link the files (`<folder>/<name>`) of one folder of the store; give how many are not there."""
        missing = 0
        self._make_folder(self._new / "sealed" / folder)
        source = os.open(self._sealed / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        target = os.open(self._new / "sealed" / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with disk_full_is_unavailable():
                for file in files:
                    missing += not self._link(file.partition("/")[2], source, target)
        finally:
            os.close(source)
            os.close(target)
        return missing

    def finish(self, contents: bytes) -> None:
        """Sync all, and put it in the place of an earlier one."""
        with disk_full_is_unavailable():
            self._write(self._new / "contents.json", contents)
            self._share(self._new / "records.db")
            _sync_file(self._new / "records.db")
            for folder in (self._new / "sealed").iterdir():
                sync_folder(folder)
            sync_folder(self._new / "sealed")
            sync_folder(self._new)
            self._move_away()
            self._new.rename(self._current)
            sync_folder(self._top)
        self.sweep()

    def drop(self) -> None:
        """Take it away, synced, if there is one."""
        self._move_away()
        sync_folder(self._top)
        self.sweep()

    def write_erased(self, encoded: bytes) -> None:
        """Write the list of what was erased, whole or not at all, if it changed."""
        path, new = self._top / "erased.json", self._top / ".erased.json"
        if path.exists() and path.read_bytes() == encoded:
            return
        with disk_full_is_unavailable():
            new.unlink(missing_ok=True)
            self._write(new, encoded)
            new.rename(path)
            sync_folder(self._top)

    def _move_away(self) -> None:
        if self._current.exists():
            shutil.rmtree(self._old, ignore_errors=True)
            self._current.rename(self._old)

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        os.chown(folder, -1, self._group)
        folder.chmod(FOLDER_MODE)

    def _link(self, name: str, source: int, target: int) -> bool:
        """Link one file; only the first time it is linked, or shared, does it have to change hands."""
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            return False
        known = os.stat(name, dir_fd=target, follow_symlinks=False)
        if known.st_gid != self._group:
            os.chown(name, -1, self._group, dir_fd=target, follow_symlinks=False)
        if known.st_mode & 0o777 != FILE_MODE:
            os.chmod(name, FILE_MODE, dir_fd=target)
        return True

    def _share(self, path: Path) -> None:
        os.chown(path, -1, self._group)
        path.chmod(FILE_MODE)

    def _write(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self._share(path)
        _sync_file(path)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
