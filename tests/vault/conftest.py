from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.simulators.audit_log import audit_simulator
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import Bench


@pytest.fixture
def tcti(tmp_path) -> Iterator[str]:
    with software_tpm(tmp_path / "tpm") as tcti:
        yield tcti


@pytest_asyncio.fixture
async def bench(tmp_path, tcti) -> AsyncIterator[Bench]:
    folder = tmp_path / "vault"
    folder.mkdir()
    async with audit_simulator(tmp_path) as audit:
        yield Bench(folder, tcti, audit, booted(tmp_path / "boot", tcti))
