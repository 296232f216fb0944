"""Opens every document of a box and gives the SHA-256 of its content: `python -m tests.drill.read_all`, in place of records.

Staff may read 300 documents in ten minutes; the drill has to see all. By the function that opens them for staff.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextlib import aclosing

from appliance.contracts.audit import AUDIT
from appliance.contracts.vault import VAULT
from appliance.core.errors import PraxisError
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer
from appliance.records import documents
from appliance.records.archive import Archive, open_archive
from appliance.records.opening import open_sealed
from appliance.records.settings import RecordsSettings

AT_ONCE = 4


async def read_all(archive: Archive) -> dict[str, list[str]]:
    """Give for each document its patient, its title and its content's digest; "" if it does not open."""
    found = await archive.database.run(lambda rows: rows.all("SELECT document FROM documents ORDER BY document"))
    at_once = asyncio.Semaphore(AT_ONCE)

    async def one(document: str) -> list[str]:
        async with at_once:
            sealed = await archive.database.run(lambda rows: documents.find(rows, document))
            digest, is_whole = hashlib.sha256(), True
            try:
                async with aclosing(open_sealed(archive, sealed)) as pieces:
                    async for piece in pieces:
                        digest.update(piece)
            except PraxisError:
                is_whole = False
            return [sealed.description.patient, sealed.description.title, digest.hexdigest() if is_whole else ""]

    names = [document for (document,) in found]
    return dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))


async def main() -> None:
    settings = read_settings(RecordsSettings, "records")
    async with open_archive(settings, Peer.of(VAULT, "vault"), Peer.of(AUDIT, "audit"), time.time) as archive:
        print(json.dumps({"documents": await read_all(archive)}))


if __name__ == "__main__":
    asyncio.run(main())
