"""Files of the state folder: replaced whole or not at all, or appended to.

Written beside (`<name>.new`), synced, renamed over the old one, and the folder synced: after a power cut there is the
old file or the new one, never half of one. Source: rename(2), fsync(2).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from appliance.core.errors import Tampered, Unavailable

NEW = ".new"


def write_synced(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file; Unavailable("storage") if there is no room, and the old one stays.

    Any other failure is an OSError: then nobody knows what is on the disk, and the process must end and read again.
    """
    new = path.with_name(path.name + NEW)
    try:
        _write_new(new, data, mode)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise Unavailable("storage") from error
    new.replace(path)
    sync_folder(path.parent)


def append_synced(path: Path, data: bytes) -> None:
    """Append to the file; Unavailable("storage") if there is no room: a part may stand at its end then."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        _write_and_close(descriptor, data)
    except OSError as error:
        raise Unavailable("storage") from error


def sync_folder(folder: Path) -> None:
    """Sync a folder's names."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_capped(path: Path, max_bytes: int, code: str) -> bytes:
    """Give a file's bytes; Tampered(code) over the cap."""
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise Tampered(code)
    return data


def _write_new(new: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, mode)
    os.fchmod(descriptor, mode)  # whatever the umask says
    _write_and_close(descriptor, data)


def _write_and_close(descriptor: int, data: bytes) -> None:
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
