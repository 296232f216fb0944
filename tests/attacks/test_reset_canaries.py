"""A thousand canaries on a box whose whole state lies on one disk image: after a reset no byte of the image has one.

The image is searched raw, freed blocks and journal of the file system included; a line in the clear is found by the
same search. What a thief copied before the reset stays noise: tests/vault/test_reset.py.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from appliance.demo.browser import open_browser
from tests.attacks.canaries import Canaries, file_pieces
from tests.simulators.demo_box import running_box
from tests.simulators.reset import claimed, reset, until_empty

IMAGE_BYTES = 512 * 1024 * 1024
PATIENTS, DOCUMENTS_OF_EACH = 40, 8
#: A patient has three, a document three.
CANARIES = PATIENTS * 3 + PATIENTS * DOCUMENTS_OF_EACH * 3


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


async def test_after_a_reset_no_byte_of_the_disk_has_one_of_a_thousand_canaries(tmp_path: Path):
    canaries, control = Canaries(), Canaries()
    image, state = tmp_path / "disk.img", tmp_path / "state"
    with disk(image, state):
        with running_box(empty=True, state=state) as box:
            (state / "control.txt").write_text(control.plant("control"))
            async with open_browser(box.practice_ca) as browser:
                staff = await claimed(box, browser, box.claim_code, box.practice_url)
                for person in range(PATIENTS):
                    patient = await staff.create_patient(
                        canaries.plant(f"family{person}"),
                        canaries.plant(f"given{person}"),
                        number=canaries.plant_ascii(f"n{person}"),
                    )
                    for number in range(DOCUMENTS_OF_EACH):
                        kind = f"{person}x{number}"
                        await staff.upload(
                            patient,
                            canaries.plant(f"text{kind}").encode(),
                            name=canaries.plant(f"name{kind}") + ".txt",
                            title=canaries.plant(f"title{kind}"),
                        )
                assert len(canaries.kinds) == CANARIES >= 1000
            sync(state)
            assert found(image, control) == {"control"}
            async with open_browser(box.practice_ca) as browser:
                await reset(box, browser)
            await until_empty(box)
            sync(state)
            assert found(image, canaries) == set()
        sync(state)
    assert found(image, canaries) == set()  # unmounted, with whatever the end of the box has written
    assert found(image, control) == {"control"}


def sync(folder: Path) -> None:
    subprocess.run(["sync", "--file-system", folder], check=True)


def found(image: Path, canaries: Canaries) -> set[str]:
    return canaries.found_in_pieces(file_pieces(image))
