from collections.abc import AsyncIterator

import pytest_asyncio

from tests.records.bench import Bench, records_process
from tests.simulators.vault_peer import VaultPeer, vault_peer


@pytest_asyncio.fixture
async def vault(tmp_path) -> AsyncIterator[VaultPeer]:
    async with vault_peer(tmp_path) as vault:
        yield vault


@pytest_asyncio.fixture
async def bench(tmp_path, vault) -> AsyncIterator[Bench]:
    async with records_process(tmp_path, vault.peer, vault.log_in()) as bench:
        yield bench
