"""Keeps one slot for the kit in use: made, sealed, tried; only then the one of the kit before is killed.

Order, so that a power cut anywhere costs nothing (tests/disk_slot/test_cuts.py cuts after every step): a planned
token, the slot, the sealed file, a try, the token as sealed; then the old slots, tokens and files. Run again,
it takes away what was begun and begins anew, or goes on with the old ones. At every moment a sealed file and a slot
that it opens are there, if once they were.
"""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from msgspec.structs import replace

from appliance.core.errors import PraxisError, Tampered, Unavailable
from appliance.disk_slot.header import Header, KitToken
from appliance.disk_slot.luks import Luks, Unlock
from appliance.disk_slot.slot_files import SlotFiles
from appliance.formats.disk_slot import PASSPHRASE_BYTES, DiskSlotHeader, read_header, seal_passphrase
from appliance.formats.kit_public import KitPublic


def keep_slot(luks: Luks, files: SlotFiles, kit: KitPublic, unlock: Unlock) -> bool:
    """Have one slot that this kit opens, and no other of ours; False if all was so already.

    Unavailable: "unlock", "slot_not_added", "no_free_slot", "boot_partition", "cryptsetup"; Invalid: "no_luks",
    "luks_header", "kit_public_key"; Tampered("disk_slot") if the boot partition does not give back what was written.
    """
    disk, header = luks.disk(), luks.read_header()
    good = _good(header, files, kit, disk)
    if good is not None and len(header.ours) == 1:
        files.keep_only({good})
        return False
    if good is None:
        _take_away_planned(luks, header)
        good = _make(luks, files, kit, disk, unlock)
    _take_away_others(luks, good)
    files.keep_only({good})
    return True


def _good(header: Header, files: SlotFiles, kit: KitPublic, disk: UUID) -> int | None:
    """Give the slot that was sealed to this kit's key, if it and its file are as they were."""
    for token in header.ours.values():
        sealed = files.read(token.slot)
        if (
            token.sealed == _digest(sealed)
            and (token.kit, token.public_key) == (kit.kit, _digest(kit.public_key))
            and token.keyslots == [str(token.slot)]
            and header.has_slot(token.slot)
            and _says(sealed, DiskSlotHeader(kit.kit, kit.box, disk))
        ):
            return token.slot
    return None


def _says(sealed: bytes, expected: DiskSlotHeader) -> bool:
    try:
        return read_header(sealed) == expected
    except PraxisError:
        return False


def _make(luks: Luks, files: SlotFiles, kit: KitPublic, disk: UUID, unlock: Unlock) -> int:
    passphrase = secrets.token_bytes(PASSPHRASE_BYTES)
    sealed = seal_passphrase(kit.public_key, DiskSlotHeader(kit.kit, kit.box, disk), passphrase)
    slot, number = luks.read_header().free_numbers()
    planned = KitToken(kit=kit.kit, slot=slot)
    luks.put_token(number, planned)
    luks.add_slot(slot, passphrase, unlock)
    files.write(slot, sealed)
    if files.read(slot) != sealed:
        raise Tampered("disk_slot")
    if not luks.opens(passphrase, slot):
        raise Unavailable("cryptsetup")
    digests = {"public_key": _digest(kit.public_key), "sealed": _digest(sealed)}
    luks.put_token(number, replace(planned, keyslots=[str(slot)], **digests))
    return slot


def _take_away_planned(luks: Luks, header: Header) -> None:
    for number, token in header.ours.items():
        if not token.sealed:
            _take_away(luks, header, number, token)


def _take_away_others(luks: Luks, good: int) -> None:
    header = luks.read_header()
    for number, token in header.ours.items():
        if token.slot != good:
            _take_away(luks, header, number, token)


def _take_away(luks: Luks, header: Header, number: int, token: KitToken) -> None:
    if header.may_kill(token):
        luks.kill_slot(token.slot)
    luks.remove_token(number)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
