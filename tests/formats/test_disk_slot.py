"""The sealed passphrase of the disk: vectors, another implementation, and every bit that must not change."""

import json
import secrets
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from appliance.core.errors import Invalid, Refused, Tampered
from appliance.formats.disk_slot import DiskSlotHeader, open_passphrase, read_header, seal_passphrase
from appliance.formats.kit_key import of_seed
from appliance.formats.kit_public import KitPublic, decode_kit_public, encode_kit_public

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/disk_slot.json").read_text(encoding="utf-8"))
SEED = of_seed(bytes(range(32)))
HEADER = DiskSlotHeader(SEED.kit, "ab" * 16, UUID(int=7))
PASSPHRASE = bytes(range(32, 64))
OTHER = Path(__file__).parent / "other_hpke.mjs"
PACKAGES = Path(__file__).parents[1] / "browser/node_modules/@hpke"


def sealed(header=HEADER):
    return seal_passphrase(SEED.public_key, header, PASSPHRASE)


@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda vector: vector["by"])
def test_a_vector_opens_whoever_sealed_it(vector):
    data = bytes.fromhex(vector["sealed"])
    assert len(data) == 1217
    assert read_header(data) == DiskSlotHeader(vector["kit"], vector["box"], UUID(vector["disk"]))
    assert open_passphrase(of_seed(bytes.fromhex(VECTORS["seed"])), data).hex() == vector["passphrase"]


@pytest.mark.skipif(not PACKAGES.exists(), reason="the browser tests' packages are not installed")
def test_another_implementation_opens_what_we_sealed_by_the_page_of_the_format_alone():
    """Offsets and info are written here as docs/formats/recovery-kit.md has them, without our code."""
    random, disk = secrets.token_bytes(32), secrets.token_bytes(16)
    seed = of_seed(random)
    data = seal_passphrase(seed.public_key, DiskSlotHeader(seed.kit, "cd" * 16, UUID(bytes=disk)), PASSPHRASE)
    info = b"praxissafe kit disk 1\0" + bytes.fromhex(seed.kit) + bytes.fromhex("cd" * 16) + disk
    assert data[:49] == b"\x01" + info[22:]
    command = [shutil.which("node") or "node", OTHER, "open", random.hex(), info.hex(), data[49:].hex()]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert bytes.fromhex(run.stdout.strip()) == PASSPHRASE


def test_a_file_gives_back_its_passphrase_to_its_kit_alone():
    assert open_passphrase(SEED, sealed()) == PASSPHRASE
    with pytest.raises(Refused, match="disk_slot_of_other_kit"):
        open_passphrase(of_seed(secrets.token_bytes(32)), sealed())


def test_a_file_renamed_to_another_kit_does_not_open_there():
    other = of_seed(secrets.token_bytes(32))
    with pytest.raises(Tampered):
        open_passphrase(other, sealed()[:1] + bytes.fromhex(other.kit) + sealed()[17:])


@pytest.mark.parametrize("change", [{"box": "cd" * 16}, {"disk": UUID(int=8)}])
def test_box_and_disk_are_bound_to_the_seal(change):
    changed = sealed(replace(HEADER, **change))[:49] + sealed()[49:]
    with pytest.raises(Tampered):
        open_passphrase(SEED, changed)


def test_no_bit_of_a_file_can_change():
    data = sealed()
    for place in [*range(60), *range(60, len(data), 37), len(data) - 1]:
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((Tampered, Refused, Invalid)):
            open_passphrase(SEED, bytes(changed))


@pytest.mark.parametrize("cut", [0, 1, 48, 49, 1169, 1216])
def test_a_cut_file_is_damaged(cut):
    with pytest.raises(Tampered):
        open_passphrase(SEED, sealed()[:cut])
    with pytest.raises(Tampered):
        open_passphrase(SEED, sealed() + b"\0")


def test_another_version_is_told_apart():
    with pytest.raises(Invalid, match="disk_slot_version"):
        read_header(b"\x02" + sealed()[1:])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_only_a_passphrase_of_32_bytes_is_sealed(length):
    with pytest.raises(Invalid, match="passphrase"):
        seal_passphrase(SEED.public_key, HEADER, bytes(length))


@pytest.mark.parametrize("key", [b"", bytes(1215), b"\xff" * 1216, SEED.public_key[:1184] + bytes(32)])
def test_a_key_that_is_none_is_refused_before_anything_is_sealed(key):
    with pytest.raises(Invalid, match="kit_public_key"):
        seal_passphrase(key, HEADER, PASSPHRASE)


def test_what_is_published_of_a_kit_has_one_layout():
    kit = KitPublic(SEED.kit, "ab" * 16, SEED.public_key)
    data = encode_kit_public(kit)
    assert data == b"\x01" + bytes.fromhex(SEED.kit) + b"\xab" * 16 + SEED.public_key
    assert decode_kit_public(data) == kit
    for wrong in (b"", data[:-1], data + b"\0", b"\x02" + data[1:]):
        with pytest.raises(Invalid, match="kit_public"):
            decode_kit_public(wrong)
