"""A relay's boxes, taken from the signed file of accepted boxes (accepted.py).

Rules it keeps: never an older number, nor the same number with other bytes; a file that is unreadable, wrongly
signed, for another portal or expired changes nothing but a count, and the last good one holds; each record and
revocation is checked by its station's signature; after the file's end the boxes stay where they are and none logs in
anew. The last good file is kept in the state folder, so a restart knows its number; another registry key starts anew,
because a number counts only under the key that signed it. `now` is an argument, in unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

from appliance.core.errors import Invalid, PraxisError, Refused
from appliance.formats.device_record import DeviceRecord, check_form, check_record
from appliance.formats.revocation import check_revocation
from provisioning.files import replace_file
from provisioning.portal.accepted import MAX_FILE_BYTES, Accepted, open_accepted
from provisioning.portal.known_boxes import KnownBoxes

KEPT_NAME = "accepted"


class AcceptedBoxes:
    """The boxes of the newest good file; `refresh` looks whether there is another."""

    def __init__(self, path: Path, state: Path, key: bytes, portal_name: str, stations: Set[bytes]) -> None:
        self._path = path
        self._kept_path = state / KEPT_NAME
        self._key = key
        self._portal_name = portal_name
        self._stations = stations
        self._known = KnownBoxes()
        self._held: Accepted | None = None
        self._held_bytes = b""
        self._seen: tuple[int, int, int] | None = None
        self._now = 0
        #: Records in the file that are not taken.
        self.unusable = 0
        #: Files that were not taken, since the start.
        self.refused = 0
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_kept()

    @property
    def number(self) -> int:
        """The number of the file in force; 0 for none."""
        return 0 if self._held is None else self._held.number

    @property
    def expired(self) -> bool:
        """Say whether no box may log in: the file in force is past its end, or there is none."""
        return self._held is None or self._now >= self._held.expires_at

    @property
    def records(self) -> Mapping[bytes, DeviceRecord]:
        """The records in force, by box."""
        return self._known.records

    def device_point(self, box: bytes) -> bytes | None:
        """Give the device key of a box as an uncompressed point; None for an unknown box or past the file's end."""
        record = self._known.records.get(box)
        return None if record is None or self.expired else record.device_point

    def box_of(self, host_name: str) -> bytes | None:
        """Give the box that answers under a host name."""
        return self._known.box_of(host_name)

    def refresh(self, now: int) -> list[bytes]:
        """Take the file if it changed; give the boxes that are no boxes any more. Call about once a second."""
        self._now = now
        try:
            stat = self._path.stat()
        except OSError:
            return []  # the last good one holds; who replaces a file by moving never gets here
        seen = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if seen == self._seen:
            return []
        self._seen = seen
        before = self._known.records
        try:
            self._take_new(now)
        except (PraxisError, OSError):
            self.refused += 1
            return []
        after = self._known.records
        return [box for box, held in before.items() if box not in after or after[box].device_key != held.device_key]

    def _take_new(self, now: int) -> None:
        data = _read(self._path)
        if data == self._held_bytes:
            return
        accepted = open_accepted(data, self._key, self._portal_name)
        if accepted.number <= self.number:
            raise Refused("accepted_number")
        if now >= accepted.expires_at:
            raise Refused("accepted_expired")
        replace_file(self._kept_path, data, mode=0o600)
        self._take(accepted, data)

    def _take_kept(self) -> None:
        try:
            data = _read(self._kept_path)
            self._take(open_accepted(data, self._key, self._portal_name), data)
        except FileNotFoundError:
            pass
        except PraxisError:
            self.refused += 1  # another registry key by now, or a disk that lost bytes

    def _take(self, accepted: Accepted, data: bytes) -> None:
        known, unusable = KnownBoxes(), 0
        for gone in accepted.revoked:
            try:
                check_form(gone.record)
                check_revocation(gone.revocation, self._stations, self._portal_name)
                if gone.revocation.box != gone.record.box:
                    raise Refused("box_taken")
            except PraxisError:
                unusable += 1
                continue
            known.forget((gone.record.box_bytes, gone.record.device_point))
        for record in accepted.records:
            try:
                if self._known.records.get(record.box_bytes) != record:  # checked when it was first held
                    check_form(record)
                    check_record(record, self._stations, self._portal_name)
                known.check_free(record)
            except PraxisError:
                unusable += 1
                continue
            known.hold(record)
        self._known, self._held, self._held_bytes, self.unusable = known, accepted, data, unusable


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise Invalid("accepted_file")
    return data
