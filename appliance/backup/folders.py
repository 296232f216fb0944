"""backup's folders and files, and keeping them: what records may read of them, and what nobody else may.

docs/formats/backup.md has the table. Nothing in restored/ outlives the work that fetched it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.core.files import write_whole

SNAPSHOT = "snapshot/current"
ERASED_LIST = "snapshot/erased.json"
BUNDLE = "bundle"
#: The folders that what is fetched may have.
_LAYOUT = re.compile(r"snapshot(/current(/sealed(/[0-9a-f]{2})?)?)?\Z")


@dataclass(frozen=True)
class Folders:
    """The state folder and what is in it."""

    state: Path

    @property
    def work(self) -> Path:
        """The working folder of restic: `bundle`, and `snapshot` as records lays it out."""
        return self.state / "work"

    @property
    def restored(self) -> Path:
        """What was fetched back."""
        return self.state / "restored"

    @property
    def private(self) -> Path:
        """The store's credentials and keys, restic's cache and temporary files."""
        return self.state / "private"

    @property
    def cache(self) -> Path:
        """restic's cache."""
        return self.private / "cache"

    @property
    def temporary(self) -> Path:
        """restic's temporary files."""
        return self.private / "temporary"

    def make(self) -> None:
        """Make what tmpfiles.d does not, and forget what a killed restic left."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in (self.private, self.cache, self.temporary):
            folder.mkdir(mode=0o700, exist_ok=True)

    def write_bundle(self, bundle: bytes) -> None:
        """Lay the sealed keys beside the snapshot."""
        write_whole(self.work / BUNDLE, bundle, mode=0o640)

    def make_restored(self, folders: list[str]) -> None:
        """Make the folders that restic will put files into, for the group that they inherit (mkdir(2), set-group-ID).

        A chmod(2) would take that away, and may not give it (RestrictSUIDSGID=): so by the mask.
        """
        sealed = self.restored / SNAPSHOT / "sealed"
        mask = os.umask(0o027)
        try:
            for path in (sealed.parents[1], sealed.parent, sealed, *(sealed / name for name in folders)):
                path.mkdir(mode=0o750, exist_ok=True)
        finally:
            os.umask(mask)

    def drop_strange_files(self) -> None:
        """Remove what is no plain file in a folder of the layout: whoever wrote the repository may have put it there.

        A link, a pipe, a folder where only files belong. Unavailable("storage").
        """
        try:
            for folder, folders, files in os.walk(self.restored):
                for name in files:
                    path = Path(folder, name)
                    if stat.S_ISREG(path.lstat().st_mode):
                        path.chmod(0o640)
                    else:
                        path.unlink()
                for name in list(folders):
                    path = Path(folder, name)
                    if path.is_symlink():
                        path.unlink()
                    elif not _LAYOUT.match(str(path.relative_to(self.restored))):
                        _remove_folder(path)
                        folders.remove(name)
        except OSError as error:
            raise Unavailable("storage") from error

    def drop_restored(self, folders: list[str]) -> None:
        """Remove the fetched files of some of the 256 folders; the folders stay, for a new one would have no group.

        restic gives the folder above them the mode that it had on the box before, without the set-group-ID bit.
        """
        for name in folders:
            folder = self.restored / SNAPSHOT / "sealed" / name
            for path in list(folder.iterdir()) if folder.is_dir() else []:
                if path.is_dir() and not path.is_symlink():
                    _remove_folder(path)
                else:
                    path.unlink(missing_ok=True)

    def empty_restored(self) -> None:
        """Remove all that was fetched; the folder itself stays (records has it bound in). Unavailable("storage")."""
        try:
            for path in self.restored.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
        except OSError as error:
            raise Unavailable("storage") from error


def _remove_folder(folder: Path) -> None:
    """Remove a folder and all in it, also where modes of the repository forbid it."""
    folder.chmod(0o700)
    for inner, folders, _ in os.walk(folder):
        for path in (Path(inner, name) for name in folders):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)
