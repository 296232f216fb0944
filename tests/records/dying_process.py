"""A records process that dies in the middle of an intake, without a word, as at a power cut.

`python -m tests.records.dying_process FOLDER SESSION PATIENT MOMENT`: vault is asked at FOLDER/vault.sock.
"""

import asyncio
import os
import sys
from pathlib import Path

from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer
from appliance.records import document_answers, documents
from appliance.records.archive import Archive
from appliance.records.intake import Sealing
from appliance.records.sealed_files import IncomingFile
from tests.records.bench import PDF, records_process

MOMENTS = {
    "first batch written": (Sealing, "take", True),
    "before the file is in its place": (IncomingFile, "keep", False),
    "file in its place, no entry": (Archive, "log", False),
    "entry, row not synced": (documents, "add", True),
}
ROW_SYNCED = "row synced, nobody told"


async def main(folder: Path, session: str, patient: str, moment: str) -> None:
    owner, name, after = (MOMENTS | {ROW_SYNCED: (document_answers, "AddedDocument", False)})[moment]
    original = getattr(owner, name)

    def die(*arguments, **named):
        if after:
            original(*arguments, **named)
        os._exit(9)

    setattr(owner, name, die)
    async with records_process(folder, Peer(VAULT, folder / "vault.sock"), session) as bench:
        await bench.add(PDF + bytes(1_200_000), patient=patient)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]))
