"""The boxes a portal knows, in memory: by box, host name, device key and TPM. Pure; the caller checked who signed.

Rules it keeps: a device key, a TPM and a host name belong to one box until it is forgotten; a box keeps its first
device key and its TPM; of two records of a box the later one holds; a forgotten id or device key never comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Protocol

import msgspec

from appliance.core.errors import Refused
from appliance.formats.device_record import DeviceRecord
from appliance.formats.revocation import Revocation


class Revoked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A box that was revoked: the record as it was, and who took it back."""

    record: DeviceRecord
    revocation: Revocation


class Register(Protocol):
    """What the portal asks about boxes: a folder of its own (registry.py), or a signed file (accepted_boxes.py)."""

    #: What was there and could not be taken; for the start line, never with names.
    unusable: int

    def device_point(self, box: bytes) -> bytes | None:
        """Give the device key of a box as an uncompressed point; None for one that may not log in."""

    def box_of(self, host_name: str) -> bytes | None:
        """Give the box that answers under a host name."""


class KnownBoxes:
    """Records that were checked, and what never comes back."""

    def __init__(self) -> None:
        self._by_box: dict[bytes, DeviceRecord] = {}
        self._box_by_host: dict[str, bytes] = {}
        self._box_by_key: dict[bytes, bytes] = {}
        self._box_by_endorsement: dict[bytes, bytes] = {}
        self._gone: set[bytes] = set()

    @property
    def records(self) -> Mapping[bytes, DeviceRecord]:
        """The records by box."""
        return MappingProxyType(self._by_box)

    def box_of(self, host_name: str) -> bytes | None:
        """Give the box that answers under a host name."""
        return self._box_by_host.get(host_name)

    def is_gone(self, box: bytes) -> bool:
        """Say whether this box was forgotten for good."""
        return box in self._gone

    def check_free(self, record: DeviceRecord) -> None:
        """Raise Refused: revoked, record_superseded, box_taken, device_key_taken, endorsement_taken, host_name_taken.

        Where another box has it, `other` names that box.
        """
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

    def hold(self, record: DeviceRecord) -> None:
        """Keep a record that `check_free` let through, in the place of the box's earlier one."""
        box = record.box_bytes
        held = self._by_box.get(box)
        if held is not None:
            del self._box_by_host[held.host_name]
        self._by_box[box] = record
        self._box_by_host[record.host_name] = box
        self._box_by_key[record.device_point] = box
        self._box_by_endorsement[record.endorsement_bytes] = box

    def forget(self, gone: Collection[bytes]) -> None:
        """Take out the box among these ids and device keys, if it is held, and never take one of them again."""
        self._gone.update(gone)
        for box in gone:
            held = self._by_box.pop(box, None)
            if held is not None:
                del self._box_by_host[held.host_name]
                del self._box_by_key[held.device_point]
                del self._box_by_endorsement[held.endorsement_bytes]
