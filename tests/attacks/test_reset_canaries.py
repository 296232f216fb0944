"""A box whose whole state lies on one disk image is reset: what the image had of it before, and what it has after.

Three claims, each with a control that it can fail:

(a) Of a thousand names, numbers, titles and documents no byte stands on the raw image, neither before the reset (they
    are sealed from the start) nor after it: freed blocks and journal of the file system included. A line in the clear
    is found by the same search.
(b) Every file that the box had is gone from the file system. Files are recognised by their own blocks, sealed as they
    are: before the reset the raw image has each. A reset that leaves the documents is caught by this, and by this
    alone.
(c) Blocks that were freed stay on the image until others are written over them: this is not denied. What they are
    sealed under is dead: the halves of the root key load in no TPM of the box any more, and the indexes that had the
    other part and the erasure key are gone. That nothing opens by a copy of the disk: tests/vault/test_reset.py.

Not claimed: anything about the software TPM's own state, which here lies on the same image; a chip keeps it inside.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.demo.browser import open_browser
from appliance.demo.processes import inside
from appliance.formats.boot_policy import FLOOR_INDEX
from appliance.vault.keys import read_key_file
from appliance.vault.tpm_nv import COUNTER_INDEX, ERASURE_INDEXES
from appliance.vault.tpm_unlock import CHANGE_INDEXES
from tests.architecture.test_units import RESET, unit
from tests.attacks.canaries import Canaries, file_pieces
from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.reset import claimed, reset, until_empty
from tests.simulators.software_tpm import software_tpm
from tests.simulators.staff import Staff
from tests.simulators.tpm_look import indexes, loads

IMAGE_BYTES = 512 * 1024 * 1024
PATIENTS, DOCUMENTS_OF_EACH = 40, 8
#: A patient has three, a document three.
CANARIES = PATIENTS * 3 + PATIENTS * DOCUMENTS_OF_EACH * 3
#: Files begin at a multiple of it on the disk, and what is behind their end is zeros.
BLOCK_BYTES = 512
#: A block of fewer different bytes may be anybody's.
TELLING_BYTES = 16
OWN_INDEXES = {*ERASURE_INDEXES, COUNTER_INDEX, CHANGE_INDEXES[0], FLOOR_INDEX}
#: What one reset is made to leave.
DOCUMENTS = "/var/lib/praxissafe/records"


class Blocks:
    """The blocks of every file of a box, by which each is known wherever it lies."""

    def __init__(self, box: Path) -> None:
        self.paths: set[str] = set()
        self._path_of: dict[bytes, str] = {}
        for path in sorted(box.rglob("*")):
            if path.is_file() and not path.is_symlink():
                name = str(path.relative_to(box))
                for block in _blocks(file_pieces(path)):
                    self.paths.add(name)
                    self._path_of.setdefault(block, name)

    def found_in(self, pieces: Iterator[bytes]) -> set[str]:
        """Give the files of which a block is there."""
        return {self._path_of[block] for block in _blocks(pieces) if block in self._path_of}

    def found_in_files(self, folder: Path) -> set[str]:
        """Give the files of which a block is in a file below."""
        files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return set().union(*(self.found_in(file_pieces(path)) for path in files))


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        for place in range(0, len(piece), BLOCK_BYTES):
            block = piece[place : place + BLOCK_BYTES].ljust(BLOCK_BYTES, b"\0")
            if len(set(block)) >= TELLING_BYTES:
                yield block


@dataclass(frozen=True)
class Seen:
    """What was on the disk and in the TPM, at one moment."""

    canaries: set[str]
    control: set[str]
    #: Files of before: by a block on the raw image, and by a block in a file.
    raw: set[str]
    files: set[str]
    halves_load: bool
    indexes: set[int]


@dataclass(frozen=True)
class Outcome:
    """A reset, from both sides."""

    paths: set[str]
    before: Seen
    after: Seen


@contextlib.contextmanager
def disk(image: Path, folder: Path) -> Iterator[None]:
    """Mount an ext4 image on a folder by a loop device."""
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop,nodev,nosuid", image, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


async def reset_on_disk(tmp_path: Path, patients: int, documents_of_each: int, *, leaving: str = "") -> Outcome:
    """Fill a box, look, reset it, look again once everything has ended; `leaving` is a folder that the reset spares."""
    canaries, control = Canaries(), Canaries()
    image, state = tmp_path / "disk.img", tmp_path / "state"
    thief = tmp_path / "thief"

    def look(known: Blocks, name: str) -> Seen:
        subprocess.run(["sync", "--file-system", state], check=True)
        file = read_key_file(thief / "vault")
        assert file is not None
        shutil.copytree(state / "world/tpm", tmp_path / name)
        with software_tpm(tmp_path / name) as tcti:
            return Seen(
                canaries=canaries.found_in_pieces(file_pieces(image)),
                control=control.found_in_pieces(file_pieces(image)),
                raw=known.found_in(file_pieces(image)),
                files=known.found_in_files(state),
                halves_load=any(loads(tcti, half) for half in file.halves),
                indexes=indexes(tcti),
            )

    with disk(image, state):
        with running_box(empty=True, state=state) as box:
            (state / "control.txt").write_text(control.plant("control"))
            async with open_browser(box.practice_ca) as browser:
                staff = await claimed(box, browser, box.claim_code, box.practice_url)
                await fill(staff, canaries, patients, documents_of_each)
            shutil.copytree(state / "box/vault", thief / "vault")
            known = Blocks(state / "box")
            before = look(known, "tpm-before")
            if leaving:
                leave(box, leaving)
            async with open_browser(box.practice_ca) as browser:
                await reset(box, browser)
            await until_empty(box)
        after = look(known, "tpm-after")
    # Unmounted, with whatever the end of the box and of the file system has written.
    assert canaries.found_in_pieces(file_pieces(image)) == after.canaries
    assert len(canaries.kinds) == patients * 3 * (1 + documents_of_each)
    return Outcome(known.paths, before, after)


async def fill(staff: Staff, canaries: Canaries, patients: int, documents_of_each: int) -> None:
    for person in range(patients):
        patient = await staff.create_patient(
            canaries.plant(f"family{person}"),
            canaries.plant(f"given{person}"),
            number=canaries.plant_ascii(f"n{person}"),
        )
        for number in range(documents_of_each):
            kind = f"{person}x{number}"
            await staff.upload(
                patient,
                canaries.plant(f"text{kind}").encode(),
                name=canaries.plant(f"name{kind}") + ".txt",
                title=canaries.plant(f"title{kind}"),
            )


def leave(box: DemoBox, folder: str) -> None:
    """Plant a fault: the shipped commands of the data's step, of which the first spares a folder."""
    first, *others = unit(RESET).values["ExecStart"]
    assert first.endswith(" -delete")
    first = first.removesuffix("-delete") + f"! -path {folder} ! -path {folder}/* -delete"
    lines = ["[Service]", "ExecStart=", *(f"ExecStart={line}" for line in (first, *others))]
    place = f"/run/systemd/system/{RESET}.d"
    write = f"mkdir --parents {place} && cat > {place}/fault.conf && systemctl daemon-reload"
    words = [*inside(box.state), "sh", "-c", write]
    subprocess.run(words, input="\n".join(lines) + "\n", text=True, check=True)


def assert_the_controls_were_seen(outcome: Outcome) -> None:
    """Fail where a search finds nothing that is there."""
    before = outcome.before
    assert before.control == outcome.after.control == {"control"}
    assert before.raw == before.files == outcome.paths
    assert before.halves_load
    assert before.indexes >= OWN_INDEXES
    assert any(path.startswith("records/") for path in outcome.paths)
    assert {"vault/keys", "vault/state"} <= outcome.paths


def assert_sealed_from_the_start(outcome: Outcome) -> None:
    assert outcome.before.canaries == outcome.after.canaries == set()


def assert_every_file_is_gone(outcome: Outcome) -> None:
    assert not outcome.after.files, f"left: {sorted(outcome.after.files)[:5]}"


def assert_what_is_left_is_sealed_under_dead_keys(outcome: Outcome) -> None:
    assert outcome.after.raw, "no freed block is left: then say so in docs/decisions/factory-reset.md"
    assert not outcome.after.halves_load
    assert outcome.after.indexes.isdisjoint(OWN_INDEXES)


async def test_after_a_reset_no_byte_of_a_thousand_canaries_no_file_and_no_key_of_the_box_is_left(tmp_path: Path):
    assert CANARIES >= 1000
    outcome = await reset_on_disk(tmp_path, PATIENTS, DOCUMENTS_OF_EACH)
    assert_the_controls_were_seen(outcome)
    assert len([path for path in outcome.paths if path.startswith("records/")]) > PATIENTS * DOCUMENTS_OF_EACH
    assert_sealed_from_the_start(outcome)
    assert_every_file_is_gone(outcome)
    assert_what_is_left_is_sealed_under_dead_keys(outcome)


async def test_a_reset_that_leaves_the_documents_is_caught_although_no_canary_can_be_read(tmp_path: Path):
    outcome = await reset_on_disk(tmp_path, 1, 3, leaving=DOCUMENTS)
    assert_the_controls_were_seen(outcome)
    assert_sealed_from_the_start(outcome)
    with pytest.raises(AssertionError, match=r"left: .*records/"):
        assert_every_file_is_gone(outcome)
    assert_what_is_left_is_sealed_under_dead_keys(outcome)
