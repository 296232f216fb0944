"""Fills the box of the drill: `python -m tests.drill.fill PATIENTS DOCUMENTS BYTES`, in place of records.

A member of staff's session on the standard input. By what fills the large practice (tests/scale/fill.py); here the
documents have the sizes of real ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator

from appliance.contracts.audit import AUDIT
from appliance.contracts.vault import VAULT
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer
from appliance.records import sealed_files
from appliance.records.archive import Archive, open_archive
from appliance.records.settings import RecordsSettings
from tests.drill.papers import Drill, scans
from tests.scale.fill import add_papers, add_people, batches
from tests.scale.practice import Paper, people

#: Documents held in memory at once.
HELD_BYTES = 64 << 20


async def fill(archive: Archive, token: str, drill: Drill) -> None:
    known: list[str] = []
    for batch in batches(people(drill.patients)):
        known += await add_people(archive, await archive.sessions.check_staff(token), batch)
    sealed_files.sync_folder = lambda _: None
    sync, os.fsync = os.fsync, lambda _: None
    for batch in _held(drill):
        await add_papers(archive, await archive.sessions.check_staff(token), known, batch)
    os.fsync = sync
    os.sync()
    await archive.database.forget()


def _held(drill: Drill) -> Iterator[list[Paper]]:
    batch: list[Paper] = []
    held = 0
    for paper in scans(drill):
        batch.append(paper)
        held += len(paper.content)
        if held >= HELD_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


async def main() -> None:
    drill, token = Drill(*map(int, sys.argv[1:4])), sys.stdin.readline().strip()
    began = time.monotonic()
    settings = read_settings(RecordsSettings, "records")
    async with open_archive(settings, Peer.of(VAULT, "vault"), Peer.of(AUDIT, "audit"), time.time) as archive:
        await fill(archive, token, drill)
    print(json.dumps({"took_s": time.monotonic() - began}))


if __name__ == "__main__":
    asyncio.run(main())
