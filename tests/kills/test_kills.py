"""Forty-five kills on the running box, anew chosen each time; `make kills` does hundreds. Each test is one claim.

A failure names seed and round: `make kills SEED=… COUNT=45` does the same again, `--only` one round of it.
"""

import asyncio
import secrets
import sys
from itertools import islice

import pytest

from tests.kills.campaign import Report, campaign_on
from tests.kills.ledger import CLAIMS
from tests.kills.plan import PROCESSES, rounds
from tests.simulators.demo_box import DemoBox

pytestmark = pytest.mark.box

KILLS = 45


@pytest.fixture(scope="module")
def report(box: DemoBox, request: pytest.FixtureRequest) -> Report:
    seed = secrets.randbelow(10**6)
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"kills: {line}", file=sys.stderr, flush=True)

    async def run() -> Report:
        async with campaign_on(box, seed, f"Abbruch{seed}") as campaign:
            return await campaign.run(islice(rounds(seed), KILLS), tell)

    tell(f"seed {seed}, {KILLS} kills")
    return asyncio.run(run())


@pytest.mark.parametrize("claim", CLAIMS)
def test_whatever_is_killed(report: Report, claim: str):
    assert not [str(fault) for fault in report.faults if fault.claim == claim], f"seed {report.seed}"


def test_every_process_is_killed_and_many_of_them_in_the_middle_of_something(report: Report):
    assert len(report.outcomes) == KILLS
    assert {outcome.round.process for outcome in report.outcomes} == set(PROCESSES)
    assert sum(outcome.in_the_middle for outcome in report.outcomes) >= KILLS // 7, report.table()
