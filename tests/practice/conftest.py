from collections.abc import AsyncIterator

import pytest_asyncio

from tests.practice.bench import Bench, practice_bench


@pytest_asyncio.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    async with practice_bench(tmp_path) as bench:
        yield bench
