"""The erasure key turns: after erasures, every key that stays is wrapped anew, and what was erased opens nowhere.

The steps (docs/formats/key-hierarchy.md, "The erasure key turns"): vault makes the next key; no row takes an older
one from then on; rows are wrapped anew in vault, some thousands in a transaction; vault destroys the key before.
After a cut anywhere the next start goes on: each row names its generation, and vault has both keys until the end.

Erasures that come soon after one another share a turn: the TPM's memory wears. One waits QUIET_S for others, and
SPACING_S after the last turn. Reading, adding and sharing go on meanwhile.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from appliance.contracts.vault import BeginTurn, FinishTurn, TurnDocumentKeys, TurningKey
from appliance.core.errors import Unavailable
from appliance.core.journal import say
from appliance.core.metrics import Counter, gauge
from appliance.records import erasure
from appliance.records.archive import Archive
from appliance.records.erasure import TABLES, KeyRow, KeyTable

#: A transaction of so many rows takes some tens of milliseconds, and other work has its turn in between.
KEYS_AT_ONCE = 2000
QUIET_S = 10.0
SPACING_S = 1800.0
RETRY_S = 60.0

_turns = Counter("erasure_turns_total", "Turns of the erasure key by how they ended.", ["finished", "put_off"])
_lost = gauge("document_keys_lost", "Wrapped keys that did not open when the erasure key turned.")


async def turn_for_ever(archive: Archive) -> None:
    """Turn whenever an erasure waits for it, until cancelled; what an earlier life of this process left, at once."""
    while True:
        await archive.not_restoring.wait()
        archive.erasure_waits.clear()
        if await archive.database.run(erasure.due) is None:
            await archive.erasure_waits.wait()
        await archive.erasures.wait_for_quiet(QUIET_S, SPACING_S)
        try:
            turned = await turn(archive)
        except Unavailable as error:
            _turns.add("put_off")
            say("erasure_turn_put_off", priority="warning", code=error.code)
            await asyncio.sleep(RETRY_S)
        else:
            await asyncio.sleep(SPACING_S if turned else 0)


async def turn(archive: Archive) -> bool:
    """Turn if that is due; False if it is not, or a restore stands.

    Unavailable if vault or the disk is: it goes on later where it was.
    """
    generation = await archive.database.run(erasure.due)
    if generation is None or not archive.not_restoring.is_set():
        return False
    async with archive.turning:
        await archive.vault.ask(BeginTurn(generation=generation))
        await archive.database.run(lambda rows: erasure.begin(rows, generation))
        _lost.set(0)
        for table in TABLES:
            await _turn_keys(archive, table, generation)
        await archive.vault.ask(FinishTurn(generation=generation))
        await archive.database.run(lambda rows: erasure.finish(rows, generation))
    _turns.add("finished")
    return True


async def _turn_keys(archive: Archive, table: KeyTable, generation: int) -> None:
    of_table: dict[str, Any] = {"table": table, "generation": generation}
    after: tuple[str, ...] = ()
    while keys := await archive.database.run(partial(erasure.take_keys, **of_table, after=after, count=KEYS_AT_ONCE)):
        await archive.database.run(partial(erasure.put_keys, **of_table, keys=await _turned(archive, keys)))
        after = keys[-1].place


async def _turned(archive: Archive, keys: list[KeyRow]) -> list[tuple[KeyRow, bytes]]:
    """Have keys wrapped anew. What does not open is lost already: it stays as it is, is told, and stops nothing."""
    asked = TurnDocumentKeys(documents=[TurningKey(document=key.identifier, wrapped=key.wrapped) for key in keys])
    turned = (await archive.vault.ask(asked)).wrapped
    if len(turned) != len(keys):
        raise Unavailable("turned_keys")
    lost = sum(wrapped is None for wrapped in turned)
    if lost:
        _lost.inc(lost)
        say("document_keys_lost", priority="alert", count=lost)
    return [(key, wrapped or key.wrapped) for key, wrapped in zip(keys, turned, strict=True)]
