"""The register of boxes: one signed device record per file, `registry/<box>.json`; what was revoked, in `revoked/`.

Rules it keeps: a device key, a TPM and a host name belong to one box until it is revoked; a box keeps its first
device key and its TPM; of two records of a box the later one holds; id and device key of a revoked box never come
back. Every record is checked again when it is read from disk, so a station taken out of the settings takes its boxes
out, and bytes changed on disk are no record. Whether a TPM has proven itself, registration.py finds out before.
Format: docs/formats/device-record.md.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import msgspec

from appliance.core.errors import NotFound, PraxisError, Refused
from appliance.formats.device_record import DeviceRecord, check_record, decode_record, encode_record
from appliance.formats.revocation import Revocation, check_revocation
from provisioning.files import replace_file


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file in `revoked/`: the record as it was, and who took it back."""

    record: DeviceRecord
    revocation: Revocation


class Registry:
    """All records of one portal, in memory by box and by host name."""

    def __init__(self, folder: Path, portal_name: str, stations: Set[bytes]) -> None:
        self._folder = folder
        self._portal_name = portal_name
        self._stations = stations
        self._by_box: dict[bytes, DeviceRecord] = {}
        self._box_by_host: dict[str, bytes] = {}
        self._box_by_key: dict[bytes, bytes] = {}
        self._box_by_endorsement: dict[bytes, bytes] = {}
        self._revoked = folder.parent / "revoked"
        #: Ids and device keys that never come back.
        self._gone: set[bytes] = set()
        #: Files that hold no record we take; for the start line, never with their names.
        self.unusable = 0
        for place in (folder, self._revoked):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in sorted(self._revoked.glob("*.json")):
            self._forget(msgspec.json.decode(path.read_bytes(), type=Revoked).record)
        for path in sorted(folder.glob("*.json")):
            self._load(path)

    def device_point(self, box: bytes) -> bytes | None:
        """Give the device key of a box as an uncompressed point, None for an unknown box."""
        record = self._by_box.get(box)
        return None if record is None else record.device_point

    def box_of(self, host_name: str) -> bytes | None:
        """Give the box that answers under a host name."""
        return self._box_by_host.get(host_name)

    def is_registered(self, record: DeviceRecord) -> bool:
        """True if this very record is held; False if it could be taken.

        Raises what `check_record` raises, and Refused with box_taken, device_key_taken, endorsement_taken (`other` is
        the box that has it), host_name_taken, record_superseded or revoked.
        """
        check_record(record, self._stations, self._portal_name)
        if self._by_box.get(record.box_bytes) == record:
            return True
        self._check_free(record)
        return False

    def register(self, record: DeviceRecord) -> bool:
        """Take a record; False when it is there already. Raises what `is_registered` raises.

        The file is on disk when this returns.
        """
        if self.is_registered(record):
            return False
        replace_file(self._folder / f"{record.box}.json", encode_record(record), mode=0o600)
        self._hold(record)
        return True

    def revoke(self, revocation: Revocation) -> bytes:
        """Take a box out for good; give its id. The file is on disk when this returns; a second time changes nothing.

        Raises what `check_revocation` raises, and NotFound("box_unknown").
        """
        check_revocation(revocation, self._stations, self._portal_name)
        box = bytes.fromhex(revocation.box)
        record = self._by_box.get(box)
        if record is None:
            if box in self._gone:
                return box
            raise NotFound("box_unknown")
        revoked = msgspec.json.encode(Revoked(record=record, revocation=revocation))
        replace_file(self._revoked / f"{record.box}.json", revoked, mode=0o600)
        (self._folder / f"{record.box}.json").unlink(missing_ok=True)
        self._forget(record)
        return box

    def _forget(self, record: DeviceRecord) -> None:
        self._gone |= {record.box_bytes, record.device_point}
        held = self._by_box.pop(record.box_bytes, None)
        if held is not None:
            del self._box_by_host[held.host_name]
            del self._box_by_key[held.device_point]
            del self._box_by_endorsement[held.endorsement_bytes]

    def _check_free(self, record: DeviceRecord) -> None:
        box = record.box_bytes
        if not self._gone.isdisjoint((box, record.device_point)):
            raise Refused("revoked")
        held = self._by_box.get(box)
        if held is not None and (held.device_key, held.endorsement) != (record.device_key, record.endorsement):
            raise Refused("box_taken", other=record.box)
        if held is not None and held.issued_at >= record.issued_at:
            raise Refused("record_superseded")
        for code, other in (
            ("device_key_taken", self._box_by_key.get(record.device_point, box)),
            ("endorsement_taken", self._box_by_endorsement.get(record.endorsement_bytes, box)),
        ):
            if other != box:
                raise Refused(code, other=other.hex())
        if self._box_by_host.get(record.host_name, box) != box:
            raise Refused("host_name_taken")

    def _hold(self, record: DeviceRecord) -> None:
        box = record.box_bytes
        held = self._by_box.get(box)
        if held is not None:
            del self._box_by_host[held.host_name]
        self._by_box[box] = record
        self._box_by_host[record.host_name] = box
        self._box_by_key[record.device_point] = box
        self._box_by_endorsement[record.endorsement_bytes] = box

    def _load(self, path: Path) -> None:
        try:
            record = decode_record(path.read_bytes())
            check_record(record, self._stations, self._portal_name)
            if path.stem != record.box:
                raise Refused("box_taken")
            self._check_free(record)
        except PraxisError:
            self.unusable += 1
            return
        self._hold(record)
