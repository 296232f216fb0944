"""Making the box's keys, once, opening them at every start, and sealing them anew.

The key file holds what only this TPM can load: two sealed halves of the root key and the device key. Each half opens
by the approval of another release key holder (docs/formats/boot-policy.md). The erasure key is in the TPM alone. The
file is written last: without it there is no box yet, and whatever a broken-off attempt left is noise.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec.structs import replace

from appliance.core.errors import Tampered
from appliance.formats.boot_policy import BootPolicy, half_policy
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

KEY_FILE = "keys"
MAX_KEY_FILE_BYTES = 16 * 1024


Pair = Annotated[list[bytes], msgspec.Meta(min_length=2, max_length=2)]
#: One value of PCR 7 for the present, and for up to seven changes to come (PolicyOR takes eight).
MAX_SECURE_BOOT_STATES = 8


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The key file (JSON, bytes as base64). `storage_root` is the name (TPM 2.0 part 1, section 16) of the parent.

    `halves[n]` opens by approval of `release_keys[n]`, and by PCR 7 being one of `secure_boot`.
    """

    version: int
    storage_root: bytes
    release_keys: Pair
    secure_boot: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=MAX_SECURE_BOOT_STATES)]
    halves: Annotated[list[Blob], msgspec.Meta(min_length=2, max_length=2)]
    device: Blob


@dataclass(frozen=True)
class OpenedKeys:
    """What vault works with once the TPM has opened everything."""

    keys: Keys = field(repr=False)
    device_public_key: bytes


@dataclass(frozen=True)
class MadeKeys:
    """Fresh keys; `file` is to be written when the first state is on disk."""

    opened: OpenedKeys
    file: KeyFile = field(repr=False)


async def make_keys(tpm: Tpm, storage_root: bytes, policy: BootPolicy, release_keys: list[bytes]) -> MadeKeys:
    """Make root key, erasure key, device key and the floor of the security epoch.

    Tampered("tpm_owned"); what opening raises, where this boot could not open what was made.
    """
    await tpm.check_unowned()
    erasure_key = ErasureKey(FIRST_GENERATION, secrets.token_bytes(KEY_BYTES))
    secure_boot = [await tpm.read_secure_boot()]
    parts = [secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)]
    root_key = combine(*parts)
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
    public_key = await tpm.load_device(device, device_authorisation(root_key))
    await tpm.make_erasure_slots(erasure_key, erasure_authorisation(root_key))
    return MadeKeys(OpenedKeys(Keys.of(root_key, [erasure_key]), public_key), file)


def write_key_file(folder: Path, file: KeyFile) -> None:
    """Write the key file; from now on the box exists."""
    write_synced(folder / KEY_FILE, msgspec.json.encode(file))


async def open_keys(tpm: Tpm, storage_root: bytes, folder: Path, policy: BootPolicy) -> OpenedKeys | None:
    """Open the keys of this box; None if there are none yet.

    Tampered("key_file"); Tampered("other_tpm") where the storage root is not the one it was; what tpm.py raises.
    """
    file = _read_key_file(folder)
    if file is None:
        return None
    if file.storage_root != storage_root:
        raise Tampered("other_tpm")
    root_key = combine(*await _open_halves(tpm, file, policy))
    await tpm.own(owner_authorisation(root_key))
    public_key = await tpm.load_device(file.device, device_authorisation(root_key))
    erasure_keys = await tpm.read_erasure_keys(erasure_authorisation(root_key))
    return OpenedKeys(Keys.of(root_key, erasure_keys), public_key)


async def seal_for(
    tpm: Tpm, folder: Path, policy: BootPolicy, release_keys: list[bytes], coming: list[bytes]
) -> None:
    """Seal the halves anew: for PCR 7 as it is and as it may become, and for the holders of this release.

    The old file stays until the new one is written whole. What opening raises.
    """
    file = _read_key_file(folder)
    if file is None:
        raise Tampered("key_file")
    parts = await _open_halves(tpm, file, policy)
    secure_boot = list(dict.fromkeys([await tpm.read_secure_boot(), *coming]))
    halves = await _seal_halves(tpm, parts, release_keys, secure_boot)
    write_key_file(folder, replace(file, release_keys=release_keys, secure_boot=secure_boot, halves=halves))


def _read_key_file(folder: Path) -> KeyFile | None:
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
