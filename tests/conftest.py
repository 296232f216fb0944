"""Fixtures that several folders use: one running box for the whole session, and a logged-in member of staff."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.staff import Staff, staff_of


@pytest.fixture(scope="session")
def box() -> Iterator[DemoBox]:
    """A whole box, started as `make run` starts it; tests share it and leave it usable."""
    with running_box() as started:
        yield started


@pytest_asyncio.fixture
async def staff(box: DemoBox) -> AsyncIterator[Staff]:
    """The member of staff "Demo", logged in."""
    async with staff_of(box) as member:
        yield member
