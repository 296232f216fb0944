"""What is fetched can be read by the group of records and by nobody else, and holds plain files only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from appliance.backup.folders import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.restored.mkdir()
    os.chown(made.restored, -1, 721)
    made.restored.chmod(0o2750)
    return made


def test_what_is_fetched_is_for_the_group_that_restored_has_whatever_the_mask(folders: Folders) -> None:
    mask = os.umask(0o077)
    try:
        folders.make_restored(["0a", "ff"])
        file = folders.restored / "snapshot/current/sealed/0a/file"
        file.write_bytes(b"x")
        folders.drop_strange_files()
    finally:
        os.umask(mask)
    for path in folders.restored.rglob("*"):
        about = path.stat()
        assert about.st_gid == 721, path
        assert stat.S_IMODE(about.st_mode) == (0o2750 if path.is_dir() else 0o640), path


def test_links_and_pipes_of_a_hostile_repository_are_removed_before_records_looks(folders: Folders) -> None:
    folders.make_restored(["0a"])
    sealed = folders.restored / "snapshot/current/sealed"
    (sealed / "0a/link").symlink_to("/etc/passwd")
    (sealed / "ab").symlink_to("/etc")
    os.mkfifo(folders.restored / "snapshot/current/records.db")
    folders.drop_strange_files()
    assert [path.name for path in sorted(folders.restored.rglob("*"))] == ["snapshot", "current", "sealed", "0a"]


def test_emptying_leaves_the_folder_that_records_has_bound_in(folders: Folders) -> None:
    folders.make_restored(["0a"])
    inode = folders.restored.stat().st_ino
    folders.empty_restored()
    assert not any(folders.restored.iterdir())
    assert folders.restored.stat().st_ino == inode


def test_folders_of_a_hostile_repository_are_removed_where_only_files_belong(folders: Folders) -> None:
    folders.make_restored(["0a", "0b"])
    sealed = folders.restored / "snapshot/current/sealed"
    for strange in (sealed / "0a/deep/er", folders.restored / "bundle/x", folders.restored / "snapshot/erased.json"):
        strange.mkdir(parents=True)
    (sealed / "0a/deep/er/file").write_bytes(b"x")
    (sealed / "0a/deep").chmod(0)
    folders.drop_strange_files()
    assert [path.name for path in sorted(folders.restored.rglob("*"))] == [
        "snapshot", "current", "sealed", "0a", "0b",
    ]  # fmt: skip
    (sealed / "0b/late/r").mkdir(parents=True)
    folders.drop_restored(["0b"])
    assert not any((sealed / "0b").iterdir())
