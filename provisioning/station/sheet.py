"""The handover sheet: what the practice gets on paper with its box."""

from __future__ import annotations

import hashlib

import msgspec


class Sheet(msgspec.Struct, kw_only=True):
    """What stands on it. The claim code is given here and nowhere else."""

    serial: str
    box: str
    claim_code: str
    practice_url: str
    patient_host: str
    device_fingerprint: str


def fingerprint(device_key: bytes) -> str:
    """Give SHA-256 of the device key (SubjectPublicKeyInfo, DER) in groups of four digits."""
    digits = hashlib.sha256(device_key).hexdigest()
    return " ".join(digits[start : start + 4] for start in range(0, 64, 4))


def print_sheet(sheet: Sheet) -> str:
    """Give the sheet as text, German first."""
    rows = [
        ("Seriennummer / serial", sheet.serial),
        ("Einrichtungscode / claim code", sheet.claim_code),
        ("Adresse in der Praxis / practice address", sheet.practice_url),
        ("Adresse für Patienten / patients' address", sheet.patient_host),
        ("Gerät / box", sheet.box),
        ("Fingerabdruck / fingerprint", sheet.device_fingerprint),
    ]
    width = max(len(label) for label, _ in rows)
    lines = [f"{label:<{width}}  {value}" for label, value in rows]
    return "\n".join(["Praxissafe · Übergabeblatt / handover sheet", "", *lines, ""])
