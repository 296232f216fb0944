"""How long vault takes to open its keys at start, and how long a patient's right PIN takes in it.

Vault's own code against a TPM in software, its state on the disk the box would have; the audit log answers at once, for
it is measured where documents come in. A TPM in hardware takes its own time for each command: a start is about ten of
them, an opening of a share one step of the counter and its read.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import quantiles

from appliance.contracts.vault import OpenShare
from tests.bench.figures import Figure, Goal
from tests.simulators.audit_log import audit_simulator
from tests.simulators.release import booted
from tests.simulators.software_tpm import software_tpm
from tests.vault.bench import Bench, MadeShare, Running

FULL_STARTS, SHORT_STARTS = 15, 2
FULL_ROUNDS, SHORT_ROUNDS = 9, 2
FULL_OPENINGS, SHORT_OPENINGS = 200, 5
#: A box is back three to five seconds after it lost a process: the keys are not what it waits for.
GOAL_START_S = 1.0
#: What a person does not notice, and what the slowest of a hundred may take.
GOAL_P50_S, GOAL_P99_S = 0.05, 0.2


async def measure(folder: Path, *, short: bool = False) -> list[Figure]:
    """Give the figures; everything lies in `folder` for as long as it takes."""
    starts, rounds = (SHORT_STARTS, SHORT_ROUNDS) if short else (FULL_STARTS, FULL_ROUNDS)
    count = SHORT_OPENINGS if short else FULL_OPENINGS
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-keys-") as name:
        place = Path(name)
        for part in ("disk", "tpm"):
            (place / part).mkdir()
        with software_tpm(place / "tpm") as tcti:
            async with audit_simulator(place) as audit:
                bench = Bench(place / "disk", tcti, audit, booted(place / "boot", tcti))
                async with bench.open() as vault:
                    share = await vault.make_share(await vault.claimed())
                    measured = [await _openings(vault, share, count) for _ in range(rounds)]
                opened = [await _start(bench) for _ in range(starts)]
    sync = [_synced_write(folder, count) for _ in range(rounds)]
    return [
        Figure(
            "keys: vault open after a start",
            "s",
            tuple((one, None) for one in opened),
            Goal(GOAL_START_S, on="value", at_most=True),
        ),
        Figure(
            "keys: a share opened with proof and PIN, p50",
            "s",
            tuple((p50, plain) for (p50, _), plain in zip(measured, sync, strict=True)),
            Goal(GOAL_P50_S, on="value", at_most=True),
        ),
        Figure(
            "keys: a share opened with proof and PIN, p99",
            "s",
            tuple((p99, None) for _, p99 in measured),
            Goal(GOAL_P99_S, on="value", at_most=True),
        ),
    ]


async def _start(bench: Bench) -> float:
    """Open what lies on the disk: both halves of the root key, the erasure key, the counter, the state."""
    began = time.perf_counter()
    async with bench.open():
        return time.perf_counter() - began


async def _openings(vault: Running, share: MadeShare, count: int) -> tuple[float, float]:
    """Open a share as often, one after the other; each counts a try, syncs it, compares, and gives the try back."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        view = await vault.ask(OpenShare(proof=share.proof, pin=share.pin))
        took.append(time.perf_counter() - began)
        assert view.r == share.r
    hundredths = quantiles(took, n=100, method="inclusive")
    return hundredths[49], hundredths[98]


def _synced_write(folder: Path, count: int) -> float:
    """The limit: one write of a page that is synced, p50."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(count):
            began = time.perf_counter()
            file.write(os.urandom(4096))
            file.flush()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    return quantiles(took, n=2)[0] if len(took) > 1 else took[0]
