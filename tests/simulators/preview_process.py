"""systemd's part for preview in tests: a socket with Accept=yes, for each connection a process under the unit's limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from appliance.contracts.preview import PREVIEW
from appliance.core.varlink import Peer

ROOT = Path(__file__).parents[2]
FIRST_PASSED = 3  # sd_listen_fds(3)
ADDRESS_SPACE_BYTES = 1 << 30


class PreviewProcesses:
    """The processes that were started, one a connection."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._attended: list[asyncio.Task[int]] = []

    async def ended(self) -> list[int]:
        """Wait until all that were started have ended; give their return codes in the order of their start."""
        return list(await asyncio.gather(*self._attended))

    async def attend(self, connection: socket.socket) -> int:
        def prepare() -> None:
            os.dup2(connection.fileno(), FIRST_PASSED)
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        words = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", sys.executable, "-m", "tests.preview.one_document"]
        names = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "connection", "OPENBLAS_NUM_THREADS": "1"}
        with connection:
            process = await asyncio.create_subprocess_exec(
                *words,
                cwd=ROOT,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"} | names,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                pass_fds=[FIRST_PASSED],
                preexec_fn=prepare,
            )
        return await process.wait()


@asynccontextmanager
async def preview_processes(folder: Path) -> AsyncIterator[PreviewProcesses]:
    """Serve preview on `<folder>/preview.sock`; ends what it started."""
    path = folder / "preview.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        served = PreviewProcesses(Peer(PREVIEW, path))

        async def accept() -> None:
            async with asyncio.TaskGroup() as group:
                while True:
                    connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                    served._attended.append(group.create_task(served.attend(connection)))

        task = asyncio.create_task(accept())
        try:
            yield served
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, BaseExceptionGroup):
                await task
            path.unlink(missing_ok=True)
