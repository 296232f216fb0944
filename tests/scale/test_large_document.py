"""A large document goes in both ways and comes out both ways whole, and no process holds it in memory.

Here with 80 MiB, more than any process may grow by; `make scale` takes the largest the box does.
"""

import pytest

from tests.scale.large_document import MAX_GROWTH_MIB, MIB, carry, judge
from tests.simulators.demo_box import DemoBox
from tests.simulators.staff import Staff

pytestmark = pytest.mark.box

LENGTH_BYTES = 80 * MIB + 1


async def test_a_large_document_comes_out_as_it_went_in_and_is_in_nobodys_memory(box: DemoBox, staff: Staff) -> None:
    assert LENGTH_BYTES > MAX_GROWTH_MIB * MIB
    lines = judge(await carry(box, staff, LENGTH_BYTES, "Kernspinow"))
    assert [line for line in lines if line["met"] is False] == []


def test_a_process_that_holds_the_document_is_noticed() -> None:
    assert [
        line["met"] for line in judge({"records_mib": MAX_GROWTH_MIB + 1, "practice_mib": 3.0, "put_s": 99.0})
    ] == [
        False,
        True,
        None,
    ]
