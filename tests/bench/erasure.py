"""How long the erasure key takes to turn after a patient is erased, and how long others wait meanwhile.

Vault's and records' real answers over a real socket, a TPM in software, a database of as many documents as a practice
has. Both sides run in this one process: on a box there are two, on two processors. The files of the documents are left
out: a turn reads none of them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from appliance.contracts.records import DeletePatient, FindPatients, Person
from appliance.contracts.vault import WrappedKey
from appliance.records import documents, patients, turning
from appliance.records.database import Rows
from appliance.vault.hierarchy import NONCE_BYTES, Keys, wrap_document_key
from tests.bench.database import sealed_row
from tests.bench.figures import Figure, Goal
from tests.records.bench import Bench, Clock
from tests.records.real_vault import box

DOCUMENTS_EACH = 20
FULL, SHORT = 20_000, 100
FULL_ROUNDS, SHORT_ROUNDS = 7, 2
GOAL_S = 1.0


async def measure(folder: Path, *, short: bool = False) -> list[Figure]:
    """Give the figures; everything lies in `folder` for as long as it takes."""
    count, rounds = (SHORT, SHORT_ROUNDS) if short else (FULL, FULL_ROUNDS)
    turns, waits = [], []
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-erasure-") as place:
        async with box(Path(place), Clock(int(time.time()))) as (bench, vault):
            who = [os.urandom(16).hex() for _ in range(count // DOCUMENTS_EACH)]
            await bench.archive.database.run(partial(_fill, who=who, keys=vault.vault.keys.keys))
            for patient in who[:rounds]:
                await bench.ask(DeletePatient, patient=patient, reason="no_record")
                began = time.perf_counter()
                assert await turning.turn(bench.archive)
                turns.append(time.perf_counter() - began)
            for patient in who[rounds : 2 * rounds]:
                await bench.ask(DeletePatient, patient=patient, reason="no_record")
                answered: list[float] = []
                asking = asyncio.ensure_future(_search(bench, answered))
                assert await turning.turn(bench.archive)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                waits.append(max(answered, default=0.0))
    return [
        Figure(
            f"erasure: every key wrapped anew after a patient of {count} documents was erased",
            "s",
            tuple((one, None) for one in turns),
            Goal(GOAL_S, on="value", at_most=True),
        ),
        Figure(
            "erasure: longest answer to a search meanwhile",
            "s",
            tuple((one, None) for one in waits),
            Goal(GOAL_S, on="value", at_most=True),
        ),
    ]


async def _search(bench: Bench, answered: list[float]) -> None:
    """Search for patients, one search after the other; note how long each took."""
    while True:
        began = time.perf_counter()
        await bench.ask(FindPatients, text="Muster")
        answered.append(time.perf_counter() - began)


def _fill(rows: Rows, who: list[str], keys: Keys) -> None:
    for number, patient in enumerate(who):
        person = Person(family_name=f"Muster{number}", given_name="Erika", birth_date="1980-02-29")
        patients.create(rows, patient, person, 1)
        for _ in range(DOCUMENTS_EACH):
            document = os.urandom(16).hex()
            wrapped = wrap_document_key(keys, document, os.urandom(32), os.urandom(NONCE_BYTES))
            key = WrappedKey(wrapped=wrapped, generation=keys.newest.generation)
            documents.add(rows, sealed_row(patient, document, key))
