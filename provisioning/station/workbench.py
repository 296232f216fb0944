"""The station's folder: one folder a serial, with its state, its sheet and its papers; one run on a box at a time.

    FOLDER/<serial>/state.json       how far it has come (progress.py); no secret
    FOLDER/<serial>/sheet.json       the claim code is here (sheet.py), until the box is handed over
    FOLDER/<serial>/handover.pdf     and on paper
    FOLDER/<serial>/lock             held while a run works on this box; the kernel lets go when the run ends

Folders are made 0700, files 0600. Format: docs/formats/station-state.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid, NotFound, Unavailable
from provisioning.files import sync_folder
from provisioning.station.files import disk_failure, remove, write_whole
from provisioning.station.progress import SERIAL_PATTERN, Progress, is_duplicate
from provisioning.station.sheet import Sheet, read_sheet, write_sheet

MAX_STATE_BYTES = 16 * 1024
SERIAL = re.compile(SERIAL_PATTERN.replace("$", r"\Z"))


@dataclass(frozen=True)
class BoxFiles:
    """The files of one box."""

    folder: Path

    @property
    def sheet(self) -> Path:
        """The sheet, with the claim code."""
        return self.folder / "sheet.json"

    @property
    def paper(self) -> Path:
        """The sheet to print, with the claim code."""
        return self.folder / "handover.pdf"

    @property
    def state(self) -> Path:
        """How far the box has come."""
        return self.folder / "state.json"

    def read_progress(self) -> Progress | None:
        """Give the state, None before the first run; Invalid("state") for a file that is none."""
        try:
            with self.state.open("rb") as file:
                progress = msgspec.json.decode(file.read(MAX_STATE_BYTES), type=Progress)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise Invalid("folder") from error
        except (OSError, msgspec.DecodeError) as error:
            raise Invalid("state", serial=self.folder.name) from error
        if progress.serial != self.folder.name:
            raise Invalid("state", serial=self.folder.name)
        return progress

    def write_progress(self, progress: Progress) -> None:
        """Replace the state, whole or not at all."""
        write_whole(self.state, msgspec.json.format(msgspec.json.encode(progress), indent=1) + b"\n")

    def read_sheet(self) -> Sheet | None:
        """Give the sheet, None if there is none (yet, or any more)."""
        return read_sheet(self.sheet)

    def write_sheet(self, sheet: Sheet) -> None:
        """Replace the sheet."""
        write_sheet(self.sheet, sheet)

    def forget_claim_code(self) -> None:
        """Remove sheet and paper: the claim code is with the practice now."""
        remove([self.sheet, self.paper], self.folder)


class Workbench:
    """All boxes of one station."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def files(self, serial: str) -> BoxFiles:
        """Give the files of a serial; Invalid("serial") if it is none."""
        if not SERIAL.match(serial):
            raise Invalid("serial")
        return BoxFiles(self._folder / serial)

    @contextlib.contextmanager
    def hold(self, serial: str) -> Iterator[BoxFiles]:
        """Make the folder of a serial and hold it; Unavailable("busy") while another run does."""
        files = self.files(serial)
        try:
            files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(files.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_failure(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unavailable("busy") from error
            yield files
        finally:
            os.close(descriptor)

    def known(self, serial: str) -> tuple[BoxFiles, Progress]:
        """Give a box that was begun; NotFound("serial_unknown")."""
        files = self.files(serial)
        progress = files.read_progress()
        if progress is None:
            raise NotFound("serial_unknown")
        return files, progress

    def serials(self) -> list[str]:
        """Give the serials that have a folder, sorted; none where the station has no folder yet."""
        try:
            return sorted(path.name for path in self._folder.iterdir() if SERIAL.match(path.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Invalid("folder") from error

    def put_aside(self, progress: Progress) -> None:
        """Move a revoked box's folder aside, to `<serial>.revoked-<8 digits of the box>`: the serial is free."""
        folder = self._folder / progress.serial
        try:
            folder.rename(folder.with_name(f"{progress.serial}.revoked-{progress.box[:8]}"))
            sync_folder(self._folder)
        except OSError as error:
            raise disk_failure(error) from error

    def find_duplicate(self, serial: str, box: str, device_fingerprint: str, endorsement: str) -> str | None:
        """Give another serial under which this box, this device key or this TPM was enrolled.

        Invalid("state", serial=…) if one cannot be read: then nobody can say that there is none.
        """
        for name in self.serials():
            other = self.files(name).read_progress()
            if other is not None and is_duplicate(other, serial, box, device_fingerprint, endorsement):
                return name
        return None
