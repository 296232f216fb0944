"""Making the box's keys, once, opening them at every start, and sealing them anew.

The key file holds what only this TPM can load: two sealed halves of the boot part and the device key. Each half opens
by the approval of another release key holder (docs/formats/boot-policy.md). With the change part, which is in the TPM
alone, and the unlock part (unlock.py) it makes the root key. The erasure key is in the TPM alone. The
file is written last: without it there is no box yet, and whatever a broken-off attempt left is noise.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import replace

from appliance.core.errors import Invalid, Tampered
from appliance.formats.boot_policy import BootPolicy, half_policy
from appliance.vault import unlock
from appliance.vault.erasure_slots import FIRST_GENERATION, ErasureKey
from appliance.vault.files import read_capped, write_synced
from appliance.vault.hierarchy import (
    KEY_BYTES,
    Keys,
    combine,
    device_authorisation,
    erasure_authorisation,
    floor_authorisation,
    owner_authorisation,
)
from appliance.vault.tpm import Blob, Tpm
from appliance.vault.unlock import NOTHING, Unlock, Way

KEY_FILE = "keys"
MAX_KEY_FILE_BYTES = 16 * 1024


Pair = Annotated[list[bytes], msgspec.Meta(min_length=2, max_length=2)]
#: One value of PCR 7 for the present, and for up to seven changes to come (PolicyOR takes eight).
MAX_SECURE_BOOT_STATES = 8


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The key file (JSON, bytes as base64). `storage_root` is the name (TPM 2.0 part 1, section 16) of the parent.

    `halves[n]` opens by approval of `release_keys[n]`, and by PCR 7 being one of `secure_boot`. `change_slot` says
    where in the TPM the change part is, `unlock` how the unlock part is had.
    """

    version: int
    storage_root: bytes
    release_keys: Pair
    secure_boot: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MAX_SECURE_BOOT_STATES)]
    halves: Annotated[list[Blob], msgspec.Meta(min_length=2, max_length=2)]
    device: Blob
    change_slot: Annotated[int, msgspec.Meta(ge=0, le=1)] = 0
    unlock: Unlock = Unlock()


class NeedsUnlocking(Exception):
    """The keys open only with more than this TPM and a signed boot: `way` says with what."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.way: Way = way


@dataclass(frozen=True)
class Unlocked:
    """The unlock part, and what the paired computers share (b"" where there are none)."""

    part: bytes = field(default=NOTHING, repr=False)
    shared: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class OpenedKeys:
    """What vault works with once the TPM has opened everything."""

    keys: Keys = field(repr=False)
    device_public_key: bytes
    unlocked: Unlocked = field(repr=False)
    way: Way


@dataclass(frozen=True)
class MadeKeys:
    """Fresh keys; `file` is to be written when the first state is on disk."""

    opened: OpenedKeys
    file: KeyFile = field(repr=False)


async def make_keys(tpm: Tpm, storage_root: bytes, policy: BootPolicy, release_keys: list[bytes]) -> MadeKeys:
    """Make root key, erasure key, device key and the floor of the security epoch, at the present release's.

    Tampered("tpm_owned"); what opening raises, where this boot could not open what was made.
    """
    await tpm.check_unowned()
    erasure_key = ErasureKey(FIRST_GENERATION, secrets.token_bytes(KEY_BYTES))
    secure_boot = [await tpm.read_secure_boot()]
    parts = [secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)]
    root_key = combine(*parts, await tpm.make_change_part(0))
    await tpm.make_floor(floor_authorisation(root_key))
    device = await tpm.make_device(device_authorisation(root_key))
    file = KeyFile(
        version=1,
        storage_root=storage_root,
        release_keys=release_keys,
        secure_boot=secure_boot,
        halves=await _seal_halves(tpm, parts, release_keys, secure_boot),
        device=device,
    )
    await _open_halves(tpm, file, policy)
    await tpm.raise_floor(floor_authorisation(root_key), policy.epoch)  # a reset has taken the floor away
    public_key = await tpm.load_device(device, device_authorisation(root_key))
    await tpm.make_erasure_slots(erasure_key, erasure_authorisation(root_key))
    return MadeKeys(OpenedKeys(Keys.of(root_key, [erasure_key]), public_key, Unlocked(), "itself"), file)


def write_key_file(folder: Path, file: KeyFile) -> None:
    """Write the key file; from now on the box exists."""
    write_synced(folder / KEY_FILE, msgspec.json.encode(file))


async def open_keys(
    tpm: Tpm, storage_root: bytes, folder: Path, policy: BootPolicy, unlocked: Unlocked | None = None
) -> OpenedKeys | None:
    """Open the keys of this box, with what `unlock` gave if that is needed; None if there are none yet.

    NeedsUnlocking; Tampered("key_file"); Tampered("other_tpm") where the storage root is not the one it was; what
    tpm.py raises.
    """
    file = read_key_file(folder)
    if file is None:
        return None
    if file.storage_root != storage_root:
        raise Tampered("other_tpm")
    boot_parts = await _open_halves(tpm, file, policy)
    change_part = await tpm.read_change_part(file.change_slot)
    if unlocked is None:
        if file.unlock.way != "itself":
            raise NeedsUnlocking(file.unlock.way)
        unlocked = Unlocked()
    root_key = combine(*boot_parts, change_part, unlocked.part)
    await tpm.own(owner_authorisation(root_key))
    public_key = await tpm.load_device(file.device, device_authorisation(root_key))
    erasure_keys = await tpm.read_erasure_keys(erasure_authorisation(root_key))
    await tpm.drop_change_part(1 - file.change_slot)  # of a change that a power cut ended
    return OpenedKeys(Keys.of(root_key, erasure_keys), public_key, unlocked, file.unlock.way)


async def unlock_keys(tpm: Tpm, folder: Path, secret: str, pin: str | None) -> Unlocked:
    """Give the unlock part, from a paired computer's secret and, where it is the way, the PIN.

    Refused("computer") before the TPM hears of it, Invalid("pin"), Tampered("key_file"), as Tpm.unseal_by_pin raises.
    """
    file = read_key_file(folder)
    if file is None:
        raise Tampered("key_file")
    shared = unlock.open_shared(file.unlock, secret)
    if file.unlock.way == "computer":
        return Unlocked(shared, shared)
    if pin is None:
        raise Invalid("pin")
    made = unlock.open_object(shared, file.unlock)
    return Unlocked(await tpm.unseal_by_pin(made.blob, unlock.pin_authorisation(made.salt, pin)), shared)


async def change_unlocking(
    tpm: Tpm, folder: Path, policy: BootPolicy, old: Unlocked, new: Unlocked, how: Unlock
) -> None:
    """Split the root key, which stays, into new parts; key files of before are dead when this returns.

    The old file and the old change part stay until the new file is written whole.
    """
    file = read_key_file(folder)
    if file is None:
        raise Tampered("key_file")
    first, second = await _open_halves(tpm, file, policy)
    change = combine(await tpm.read_change_part(file.change_slot), await tpm.make_change_part(1 - file.change_slot))
    parts = [combine(first, change, old.part, new.part), second]
    halves = await _seal_halves(tpm, parts, file.release_keys, file.secure_boot)
    changed = replace(file, halves=halves, change_slot=1 - file.change_slot, unlock=how)
    await _open_halves(tpm, changed, policy)
    write_key_file(folder, changed)
    await tpm.drop_change_part(file.change_slot)


async def seal_for(
    tpm: Tpm, folder: Path, policy: BootPolicy, release_keys: list[bytes], coming: list[bytes]
) -> None:
    """Seal the halves anew: for PCR 7 as it is and as it may become, and for the holders of this release.

    The old file stays until the new one is written whole. What opening raises.
    """
    file = read_key_file(folder)
    if file is None:
        raise Tampered("key_file")
    parts = await _open_halves(tpm, file, policy)
    secure_boot = list(dict.fromkeys([await tpm.read_secure_boot(), *coming]))
    halves = await _seal_halves(tpm, parts, release_keys, secure_boot)
    write_key_file(folder, replace(file, release_keys=release_keys, secure_boot=secure_boot, halves=halves))


def read_key_file(folder: Path) -> KeyFile | None:
    """Read the key file; None if there is none, Tampered("key_file")."""
    try:
        raw = read_capped(folder / KEY_FILE, MAX_KEY_FILE_BYTES, "key_file")
    except FileNotFoundError:
        return None
    try:
        file = msgspec.json.decode(raw, type=KeyFile)
    except msgspec.MsgspecError as error:
        raise Tampered("key_file") from error
    if file.version != 1:
        raise Tampered("key_file")
    return file


async def _seal_halves(tpm: Tpm, parts: list[bytes], keys: list[bytes], secure_boot: list[bytes]) -> list[Blob]:
    return [await tpm.seal(part, half_policy(key, secure_boot)) for part, key in zip(parts, keys, strict=True)]


async def _open_halves(tpm: Tpm, file: KeyFile, policy: BootPolicy) -> list[bytes]:
    return [
        await tpm.unseal(half, policy, key, file.secure_boot)
        for half, key in zip(file.halves, file.release_keys, strict=True)
    ]
