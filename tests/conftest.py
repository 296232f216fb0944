"""Fixtures that several folders use: one running box for the whole session, and a logged-in member of staff."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.simulators.demo_box import DemoBox, running_box
from tests.simulators.staff import Staff, staff_of

#: The files that take minutes. Begun first, they leave the short ones to even out the two workers.
LONGEST = ("test_twins.py", "test_accessibility.py", "test_kills.py", "test_large_documents.py", "test_soak.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


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
