"""The register of boxes: one signed device record per file, `registry/<box>.json`; what was revoked, in `revoked/`.

Rules it keeps: those of known_boxes.py. Every record is checked again when it is read from disk, so a station taken
out of the settings takes its boxes out, and bytes changed on disk are no record. Whether a TPM has proven itself,
registration.py finds out before. Format: docs/formats/device-record.md.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import msgspec

from appliance.core.errors import NotFound, PraxisError, Refused
from appliance.formats.device_record import DeviceRecord, check_record, decode_record, encode_record
from appliance.formats.revocation import Revocation, check_revocation
from provisioning.files import replace_file
from provisioning.portal.known_boxes import KnownBoxes, Revoked


class Registry:
    """All records of one portal, kept in a folder."""

    def __init__(self, folder: Path, portal_name: str, stations: Set[bytes]) -> None:
        self._folder = folder
        self._portal_name = portal_name
        self._stations = stations
        self._known = KnownBoxes()
        self._revoked = folder.parent / "revoked"
        #: Files that hold no record we take; for the start line, never with their names.
        self.unusable = 0
        for place in (folder, self._revoked):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._revoked.glob("*.json")):
            self._forget(read_revoked(path).record)
        for path in sorted(folder.glob("*.json")):
            self._load(path)

    def device_point(self, box: bytes) -> bytes | None:
        """Give the device key of a box as an uncompressed point, None for an unknown box."""
        record = self._known.records.get(box)
        return None if record is None else record.device_point

    def box_of(self, host_name: str) -> bytes | None:
        """Give the box that answers under a host name."""
        return self._known.box_of(host_name)

    def records(self) -> list[DeviceRecord]:
        """Give all records, by box."""
        return [record for _, record in sorted(self._known.records.items())]

    def revocations(self) -> list[Revoked]:
        """Give what was revoked, by box, as it is on disk."""
        return [read_revoked(path) for path in sorted(self._revoked.glob("*.json"))]

    def is_registered(self, record: DeviceRecord) -> bool:
        """True if this very record is held; False if it could be taken.

        Raises what `check_record` raises, and Refused with box_taken, device_key_taken, endorsement_taken (`other` is
        the box that has it), host_name_taken, record_superseded or revoked.
        """
        check_record(record, self._stations, self._portal_name)
        if self._known.records.get(record.box_bytes) == record:
            return True
        self._known.check_free(record)
        return False

    def register(self, record: DeviceRecord) -> bool:
        """Take a record; False when it is there already. Raises what `is_registered` raises.

        The file is on disk when this returns.
        """
        if self.is_registered(record):
            return False
        replace_file(self._folder / f"{record.box}.json", encode_record(record), mode=0o600)
        self._known.hold(record)
        return True

    def revoke(self, revocation: Revocation) -> bytes:
        """Take a box out for good; give its id. The file is on disk when this returns; a second time changes nothing.

        Raises what `check_revocation` raises, and NotFound("box_unknown").
        """
        check_revocation(revocation, self._stations, self._portal_name)
        box = bytes.fromhex(revocation.box)
        record = self._known.records.get(box)
        if record is None:
            if self._known.is_gone(box):
                return box
            raise NotFound("box_unknown")
        revoked = msgspec.json.encode(Revoked(record=record, revocation=revocation))
        replace_file(self._revoked / f"{record.box}.json", revoked, mode=0o600)
        (self._folder / f"{record.box}.json").unlink(missing_ok=True)
        self._forget(record)
        return box

    def _forget(self, record: DeviceRecord) -> None:
        self._known.forget((record.box_bytes, record.device_point))

    def _load(self, path: Path) -> None:
        try:
            record = decode_record(path.read_bytes())
            check_record(record, self._stations, self._portal_name)
            if path.stem != record.box:
                raise Refused("box_taken")
            self._known.check_free(record)
        except FileNotFoundError:
            return  # it was revoked while another process (publish.py) looks
        except PraxisError:
            self.unusable += 1
            return
        self._known.hold(record)


def read_revoked(path: Path) -> Revoked:
    """Read one file of `revoked/`."""
    return msgspec.json.decode(path.read_bytes(), type=Revoked)
