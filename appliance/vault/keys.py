"""Making the box's keys, once, and opening them at every start.

The key file holds what only this TPM can load: the sealed root key and the device key. The erasure key is in the
TPM alone. The file is written last: without it there is no box yet, and whatever a broken-off attempt left is
noise.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from appliance.core.errors import Tampered
from appliance.vault.files import read_capped, write_synced
from appliance.vault.hierarchy import KEY_BYTES, Keys, device_authorisation, erasure_authorisation
from appliance.vault.tpm import Blob, Tpm

KEY_FILE = "keys"
MAX_KEY_FILE_BYTES = 16 * 1024


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The key file (JSON, bytes as base64). `storage_root` is the name (TPM 2.0 part 1, section 16) of the parent."""

    version: int
    storage_root: bytes
    root_key: Blob
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


async def make_keys(tpm: Tpm, storage_root: bytes) -> MadeKeys:
    """Make root key, erasure key and device key."""
    root_key, erasure_key = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES)
    sealed = await tpm.seal(root_key)
    device = await tpm.make_device(device_authorisation(root_key))
    public_key = await tpm.load_device(device, device_authorisation(root_key))
    await tpm.write_erasure_key(erasure_key, erasure_authorisation(root_key))
    file = KeyFile(version=1, storage_root=storage_root, root_key=sealed, device=device)
    return MadeKeys(OpenedKeys(Keys.of(root_key, erasure_key), public_key), file)


def write_key_file(folder: Path, file: KeyFile) -> None:
    """Write the key file; from now on the box exists."""
    write_synced(folder / KEY_FILE, msgspec.json.encode(file))


async def open_keys(tpm: Tpm, storage_root: bytes, folder: Path) -> OpenedKeys | None:
    """Open the keys of this box; None if there are none yet.

    Tampered("key_file"); Tampered("other_tpm") where the storage root is not the one it was; what tpm.py raises.
    """
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
    if file.storage_root != storage_root:
        raise Tampered("other_tpm")
    root_key = await tpm.unseal(file.root_key)
    public_key = await tpm.load_device(file.device, device_authorisation(root_key))
    erasure_key = await tpm.read_erasure_key(erasure_authorisation(root_key))
    return OpenedKeys(Keys.of(root_key, erasure_key), public_key)
