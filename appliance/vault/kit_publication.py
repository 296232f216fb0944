"""Publishes the recovery kit in use: its public half, in a file that disk-slot reads (docs/processes.md).

Written when it differs: when a kit is accepted, at a start, and each minute if there was no room before.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from appliance.core.errors import Unavailable
from appliance.formats.kit_public import KitPublic, encode_kit_public
from appliance.vault.files import write_synced
from appliance.vault.state import State

KIT_PUBLIC = "kit-public"


def publish_kit(folder: Path, state: State) -> None:
    """Have the file say which kit is in use; without room, it says the old one a while longer."""
    kit = state.kits.current
    if kit is None:
        return
    published = encode_kit_public(KitPublic(kit.kit, state.box.box, kit.public_key))
    path = folder / KIT_PUBLIC
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == published:
            return
    with contextlib.suppress(Unavailable):
        write_synced(path, published, mode=0o644)
