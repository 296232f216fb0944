"""A records process that dies in the middle of a restore, without a word, as at a power cut.

`python -m tests.records.dying_restore FOLDER SESSION BUNDLE MOMENT`: vault is asked at FOLDER/vault.sock; BUNDLE is in
hexadecimal. What it did until then stays; the exit status is 9.
"""

import asyncio
import os
import sys
from pathlib import Path

from appliance.contracts.snapshots import AbandonRestore, AdoptFiles, FinishRestore, OpenCopy
from appliance.contracts.vault import VAULT
from appliance.core.varlink import Peer
from appliance.records import erasure, restore, restore_end, restoring
from appliance.records.adopting import Adopting
from appliance.records.archive import Archive
from appliance.records.sealed_files import SealedFiles
from tests.records.bench import Clock, audit_answers, records_process

#: What it dies at, and whether it does that still.
MOMENTS = {
    "copy laid beside": (restore, "_copy_beside", True),
    "keys wrapped, copy not whole": (erasure, "put_keys", True),
    "rows taken in, not synced": (restore, "_take_in", True),
    "rows synced, nobody told": (restoring, "folders_left", False),
    "files copied, not synced": (Adopting, "put_in_place", False),
    "files in their place, not noted": (restoring, "adopted", False),
    "files in their place, not answered": (Adopting, "put_in_place", True),
}
FINISHING = {
    "erased again, not synced": (restore_end, "_erase_again", True),
    "rows erased again, files there": (SealedFiles, "remove", False),
    "files erased again, no entry": (Archive, "append", False),
    "end not synced": (restoring, "end", True),
}
MOMENTS |= FINISHING
ABANDONED = {
    "given up, not synced": (restore, "_give_up", True),
    "rows given up, files there": (SealedFiles, "sweep", False),
    "files gone, end not synced": (restoring, "end", True),
}


async def main(folder: Path, session: str, bundle: bytes, moment: str) -> None:
    owner, name, after = (MOMENTS | ABANDONED)[moment]
    original = getattr(owner, name)

    def die(*arguments, **named):
        if after:
            original(*arguments, **named)
        os._exit(9)

    armed = moment not in ABANDONED
    if armed:
        setattr(owner, name, die)
    with audit_answers(folder / "audit-of-the-dying", Clock()) as audit:
        peer = Peer(VAULT, folder / "vault.sock")
        async with records_process(folder, peer, session, clock=Clock(), audit=audit) as bench:
            opened = await bench.snapshots.ask(OpenCopy(bundle=bundle))
            await bench.snapshots.ask(AdoptFiles(folders=opened.folders))
            if not armed:
                setattr(owner, name, die)
                await bench.snapshots.ask(AbandonRestore())
            await bench.snapshots.ask(FinishRestore())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4]))
