"""The station's files: written whole or not at all, readable by their owner only; what the disk says, as failures.

Invalid("folder") where a file cannot be made (no such place, no right, read-only), Unavailable("disk_full") where
there is no room: the caller's run ends, what was there before stays.
"""

from __future__ import annotations

import errno
from pathlib import Path

from appliance.core.errors import Invalid, PraxisError, Unavailable
from provisioning.files import replace_file, sync_folder

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file (mode 0600); after a power cut it holds the old bytes or the new ones."""
    try:
        replace_file(path, content, mode=0o600)
    except OSError as error:
        raise disk_failure(error) from error


def remove(paths: list[Path], folder: Path) -> None:
    """Remove files of a folder, and drafts that a power cut left of them; some or all may be gone already."""
    try:
        for path in paths:
            for leftover in (path, path.with_name(path.name + ".draft")):
                leftover.unlink(missing_ok=True)
        sync_folder(folder)
    except OSError as error:
        raise disk_failure(error) from error


def disk_failure(error: OSError) -> PraxisError:
    """Give the failure for what the disk said."""
    return Unavailable("disk_full") if error.errno in NO_ROOM else Invalid("folder")
