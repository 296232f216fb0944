"""Fuzz targets for what is read of the recovery kit: words, what vault published, sealed files, a LUKS2 header."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from appliance.core.errors import Invalid, Refused, Tampered, Unavailable
from appliance.disk_slot.header import Header
from appliance.formats import disk_slot, kit_public, kit_sheets
from appliance.formats.kit_key import of_seed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/disk_slot.json").read_bytes())
SEALED = [bytes.fromhex(each["sealed"]) for each in VECTORS["files"]]
SEED = of_seed(bytes.fromhex(VECTORS["seed"]))
SHEETS = [words.encode() for words in kit_sheets.split_seed(bytes(32))]


def words_of_a_sheet(data: bytes) -> None:
    """What is typed or scanned: words, or a failure that names a place there is."""
    place = 1
    try:
        share = kit_sheets.read_sheet(data.decode("utf-8", "replace"), 1)
        assert kit_sheets.read_sheet(share.mnemonic(), 1) == share
    except Invalid as error:
        place = int(error.details.get("word", 1))
    assert 1 <= place <= kit_sheets.WORDS


def published_kit(data: bytes) -> None:
    """What is read is written to the same bytes again."""
    with contextlib.suppress(Invalid):
        read = kit_public.decode_kit_public(data)
        assert kit_public.encode_kit_public(read) == data
        disk_slot.seal_passphrase(
            read.public_key, disk_slot.DiskSlotHeader(read.kit, read.box, disk_slot.UUID(int=0)), bytes(32)
        )


def sealed_passphrase(data: bytes) -> None:
    """Whatever opens is one of the examples."""
    with contextlib.suppress(Invalid, Refused, Tampered):
        disk_slot.open_passphrase(SEED, data)
        assert data in SEALED


def luks_header(data: bytes) -> None:
    """The metadata of a header that anybody may have written; nobody else's slot is taken for ours."""
    try:
        header = Header(data)
    except Invalid:
        return
    for token in header.ours.values():
        assert not header.may_kill(token) or header.has_slot(token.slot)
    with contextlib.suppress(Unavailable):
        slot, number = header.free_numbers()
        assert not header.has_slot(slot)
        assert number not in header.ours


_SLOT = {"type": "luks2", "kdf": {"type": "pbkdf2", "iterations": 1000, "salt": "AA=="}}
_HEADER = {
    "keyslots": {"0": _SLOT, "1": _SLOT},
    "tokens": {
        "0": {"type": "systemd-tpm2", "keyslots": ["0"], "tpm2-pcrs": []},
        "1": {"type": "praxissafe-kit", "keyslots": ["1"], "kit": "aa", "slot": 1, "public_key": "b", "sealed": "c"},
        "2": {"type": "praxissafe-kit", "keyslots": [], "kit": "aa", "slot": 2, "public_key": "", "sealed": ""},
    },
    "digests": {},
}
SEEDS: dict[str, list[bytes]] = {
    "kit_words": [*SHEETS, SHEETS[0].upper()],
    "kit_public": [kit_public.encode_kit_public(kit_public.KitPublic(SEED.kit, "ab" * 16, SEED.public_key))],
    "disk_slot": SEALED,
    "luks_header": [json.dumps(_HEADER).encode()],
}
TARGETS: dict[str, Callable[[bytes], None]] = {
    "kit_words": words_of_a_sheet,
    "kit_public": published_kit,
    "disk_slot": sealed_passphrase,
    "luks_header": luks_header,
}
