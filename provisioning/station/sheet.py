"""What stands on the handover sheet, and the file that keeps it until it is handed over.

The claim code is given once, so the file is written before the box closes enrolment, marked as not finished, and
again afterwards. It is readable by its owner only, replaced whole, and removed when the box is handed over: beside
the printed paper it is the only place of the station that holds a claim code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from appliance.core.errors import Invalid
from provisioning.station.files import write_whole

MAX_SHEET_BYTES = 16 * 1024


class Sheet(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What stands on it. The claim code is given here and nowhere else."""

    serial: str
    box: str
    claim_code: str
    practice_url: str
    patient_host: str
    device_fingerprint: str
    #: Maker and model of the TPM that has proven itself; "" before.
    tpm: str = ""
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
    """Replace the file, whole or not at all; raises what `write_whole` raises."""
    write_whole(path, msgspec.json.encode(sheet) + b"\n")
