"""tunnel's part, as a program run by tunnel's user: passes connections to whoever answers at a socket, by TakeConnection.

`python -c PROGRAM SOCKET DESCRIPTOR…`
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, "/usr/lib/praxissafe")

from appliance.contracts.gateway import GATEWAY, TakeConnection
from appliance.core.varlink import Peer


async def main(path: Path, descriptors: list[int]) -> None:
    gateway = Peer(GATEWAY, path)
    for descriptor in descriptors:
        await gateway.ask(TakeConnection(), descriptor=descriptor)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), list(map(int, sys.argv[2:]))))
