"""Measure a snapshot and a restore's files: `python -m tests.records.measure_snapshot FOLDER DOCUMENTS BYTES_EACH`.

Prints the longest that another transaction waited while a snapshot was made, how long it took, and how many MB/s
AdoptFiles takes over. Rows are real (SQLCipher, the search index); the files are noise of the right size and digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from appliance.contracts.records import Document
from appliance.contracts.snapshots import FOLDERS, AdoptFiles, MakeSnapshot
from appliance.contracts.vault import WrappedKey
from appliance.records import documents, restoring
from appliance.records.documents import Sealed
from appliance.records.restoring import Restore
from tests.records.bench import Bench, records_process
from tests.simulators.vault_peer import vault_peer

TEXT = " ".join(f"Befundwort{number}" for number in range(300))


def add(bench: Bench, patient: str, size: int, rows) -> None:
    document = os.urandom(16).hex()
    file, content = f"{document[:2]}/{document}-{os.urandom(8).hex()}", os.urandom(size)
    bench.archive.files.path(file).write_bytes(content)
    description = Document(
        document=document,
        patient=patient,
        kind="finding",
        title="Befund",
        name="befund.pdf",
        media_type="application/pdf",
        length=size - 100,
        added_at=1,
        added_by="Ada",
    )
    key = WrappedKey(wrapped=bytes(60), generation=1)
    documents.add(rows, Sealed(description, size, hashlib.sha256(content).digest(), key, file), TEXT)


async def longest_wait(bench: Bench, work: asyncio.Future) -> float:
    longest = 0.0
    while not work.done():
        began = time.monotonic()
        await bench.archive.database.run(lambda rows: rows.change("UPDATE retention_clock SET at = at + 1"))
        longest = max(longest, time.monotonic() - began)
        await asyncio.sleep(0.001)
    return longest


async def main(folder: Path, count: int, size: int) -> None:
    async with vault_peer(folder) as vault, records_process(folder, vault.peer, vault.log_in()) as bench:
        patient = await bench.add_patient()
        for _ in range(0, count, 500):

            def add_some(rows) -> None:
                for _ in range(min(500, count)):
                    add(bench, patient, size, rows)

            await bench.archive.database.run(add_some)
        said: dict[str, float] = {"database_mb": (bench.state / "records.db").stat().st_size / 1e6}
        for name in ("first", "second"):
            began = time.monotonic()
            making = asyncio.ensure_future(bench.snapshots.ask(MakeSnapshot()))
            said[f"{name}_longest_wait_s"] = round(await longest_wait(bench, making), 3)
            said[f"{name}_snapshot_s"] = round(time.monotonic() - began, 2)
            await making
        os.sync()
        (bench.restored / "snapshot" / "current").mkdir(parents=True)
        (bench.state / "snapshot" / "current" / "sealed").rename(bench.restored / "snapshot" / "current" / "sealed")
        for path in bench.sealed_files:
            path.unlink()
        await bench.archive.database.run(lambda rows: restoring.begin(rows, Restore("a" * 32, 1, 1, False)))
        began = time.monotonic()
        for start in range(0, 256, 16):
            await bench.snapshots.ask(AdoptFiles(folders=list(FOLDERS[start : start + 16])))
        took = time.monotonic() - began
        said |= {
            "adopt_s": round(took, 1),
            "adopt_mb_s": round(count * size / took / 1e6),
            "files_s": round(count / took),
        }
        print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
