"""How often the TPM's memory is written: it wears, so the writes of a simulated year are counted."""

from __future__ import annotations

import os
import random

import pytest_asyncio
from msgspec.structs import replace

from appliance.records.turning import SPACING_S
from appliance.vault import shares
from appliance.vault.rollback import must_be_counted
from appliance.vault.state import State
from tests.vault.cut_disk import Step
from tests.vault.test_cuts import NOW, facts, make_share
from tests.vault.turn_cuts import make_box, open_database

#: A tenth of what the box is built for, so that the test is short; the writes of each share are the same.
SHARES_A_DAY = int(os.environ.get("SHARES_A_DAY", "20"))
DAYS = 365
WORKING_DAYS, WORKING_DAY_S = 250, 10 * 3600
VALID_S = 14 * 86400
#: A chip for the box must be good for ten times this (docs/formats/vault-state.md, "Counting").
BUDGET_A_YEAR = 110_000


@pytest_asyncio.fixture
async def writes_of_a_turn(tmp_path) -> int:
    """What one turn of the erasure key writes into the TPM."""
    for name in ("vault", "records"):
        (tmp_path / name).mkdir()
    log: list[Step] = []
    database = await open_database(tmp_path / "records/records.db", log)
    try:
        box = await make_box(tmp_path / "vault", database, log)
        await box.erase(f"{1:032x}")
        log.clear()
        await box.finish()
    finally:
        database.close()
    kinds = [step.kind for step in log]
    return kinds.count("slot") // 2 + kinds.count("count")


def test_a_year_of_two_hundred_shares_a_day_keeps_the_write_budget_of_the_tpm(writes_of_a_turn):
    """Erasures come all day long on every working day, so that the erasure key turns as often as it may. Of ten shares nine are opened, three with a wrong PIN first; one is revoked; the rest expire. A start a week."""
    chance, state, counted, by_time = random.Random(3), State(box=facts()), 0, 0

    def take(state, changed):
        nonlocal counted
        counted += changed is not state and must_be_counted(state, changed)
        return changed

    def on(state, name, rule, now):
        changed = rule(state.shares[name], now)
        return take(state, replace(state, shares=shares.put(state.shares, changed)))

    for day in range(DAYS):
        now = NOW + day * 86400
        by_time += 2 * (day % 7 == 0)
        by_time += 24  # at most: settling once an hour, if something expired in each
        state = replace(state, shares=dict(shares.settle(state.shares, now)))
        for number in range(SHARES_A_DAY):
            made = make_share(day * SHARES_A_DAY + number)
            share = replace(made, made_at=now, expires_at=now + VALID_S + chance.randrange(3600))
            state = take(state, replace(state, shares=shares.add(state.shares, share)))
            state = on(state, share.share, shares.publish, now)
            state = on(state, share.share, lambda share, _: shares.confirm_pin(share, "5" * 32), now)
            fate = chance.random()
            if fate < 0.3:
                state = on(state, share.share, shares.take_try, now)
                state = on(state, share.share, shares.count_wrong, now)
            if fate < 0.9:
                state = on(state, share.share, shares.take_try, now)
                state = on(state, share.share, shares.give_back_try, now)
            elif fate < 0.95:
                state = on(state, share.share, shares.revoke, now)
    by_erasures = WORKING_DAYS * round(WORKING_DAY_S / SPACING_S) * writes_of_a_turn
    a_year = counted * 200 // SHARES_A_DAY + by_time + by_erasures
    print(
        f"TPM writes in a year of 200 shares a day: {a_year} "
        f"({by_time} of them by starts and passing time, {by_erasures} by erasures)"
    )
    assert BUDGET_A_YEAR / 2 < a_year <= BUDGET_A_YEAR
