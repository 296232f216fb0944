from collections.abc import Iterator

import pytest

from tests.disk_slot.disk import Disk
from tests.simulators.software_tpm import software_tpm


@pytest.fixture
def disk(tmp_path) -> Disk:
    return Disk(tmp_path / "disk")


@pytest.fixture
def tcti(tmp_path) -> Iterator[str]:
    with software_tpm(tmp_path / "tpm") as tcti:
        yield tcti
