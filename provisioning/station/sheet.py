"""The handover sheet: what the practice gets on paper with its box, and the file that keeps it.

The claim code is given once, so the file is written before the box closes enrolment, marked as not finished, and
again afterwards. It is readable by its owner only, and replaced whole.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid

MAX_SHEET_BYTES = 16 * 1024


class Sheet(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What stands on it. The claim code is given here and nowhere else."""

    serial: str
    box: str
    claim_code: str
    practice_url: str
    patient_host: str
    device_fingerprint: str
    finished: bool


def fingerprint(device_key: bytes) -> str:
    """Give SHA-256 of the device key (SubjectPublicKeyInfo, DER) in groups of four digits."""
    digits = hashlib.sha256(device_key).hexdigest()
    return " ".join(digits[start : start + 4] for start in range(0, 64, 4))


def read_sheet(path: Path) -> Sheet | None:
    """Give the sheet of an earlier run, None if there is none; Invalid("sheet") for a file that is something else."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(MAX_SHEET_BYTES), type=Sheet)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise Invalid("sheet") from error


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Replace the file (mode 0600), whole or not at all; Invalid("sheet_folder") where that is not possible."""
    draft = path.with_name(path.name + ".draft")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.encode(sheet) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Invalid("sheet_folder") from error


def print_sheet(sheet: Sheet) -> str:
    """Give the sheet as text, German first."""
    rows = [
        ("Seriennummer / serial", sheet.serial),
        ("Einrichtungscode / claim code", sheet.claim_code),
        ("Adresse in der Praxis / practice address", sheet.practice_url),
        ("Adresse für Patienten / patients' address", sheet.patient_host),
        ("Gerät / box", sheet.box),
        ("Fingerabdruck / fingerprint", sheet.device_fingerprint[:39]),
        ("", sheet.device_fingerprint[40:]),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {value}" for label, value in rows]
    return "\n".join(["Praxissafe · Übergabeblatt / handover sheet", "", *lines, ""])
