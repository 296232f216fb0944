"""A running box under 1,000 bad requests, half to practice, half through portal and tunnel to gateway; `make fuzz` sends 10,000.

The seed is printed; `python -m tests.fuzz.campaign --requests 1000 --seed S` sends the same again.
"""

from __future__ import annotations

import random
import sys

import pytest

from tests.fuzz.campaign import Campaign, bad_lines, journal_cursor
from tests.simulators.demo_box import DemoBox, running_box

REQUESTS = 1000
FIRST_SAMPLE_AT = 300
#: Early on a process still fills its caches; the claim of 5 MiB is `make fuzz`'s, from request 1,000 to 10,000.
MAX_GROWTH_BYTES = 8 * 1024 * 1024


@pytest.fixture(scope="module")
def own_box():
    """A box of its own: memory is only told apart where nobody else asks, and what the requests store stays out of other tests."""
    with running_box() as started:
        yield started


async def test_no_bad_request_brings_a_failure_a_traceback_or_a_restart(own_box: DemoBox) -> None:
    seed = random.randrange(1, 2**31)
    print(f"seed {seed}")
    campaign = Campaign(own_box, seed, REQUESTS, FIRST_SAMPLE_AT, MAX_GROWTH_BYTES)
    await campaign.run()
    print(campaign.table(), file=sys.stderr)
    assert campaign.faults == [], campaign.table()
    assert campaign.count == REQUESTS
    for side in campaign.statuses.values():
        assert side["2xx"] > 20  # the requests do reach what they are made for
        assert side["4xx"] > 100


def test_a_traceback_in_a_journal_would_be_seen(own_box: DemoBox) -> None:
    import subprocess

    from appliance.demo.processes import inside

    cursor = journal_cursor(own_box)
    subprocess.run(
        [*inside(own_box.state), "systemd-cat", "-t", "probe", "echo", "Traceback (most recent call last):"],
        check=True,
    )
    subprocess.run([*inside(own_box.state), "journalctl", "--sync"], check=True)
    assert ["Traceback" in line for line in bad_lines(own_box, cursor)] == [True]
