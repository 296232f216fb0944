"""The portal as its own process, with a registry that knows the boxes given; it can be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from provisioning.portal.registry import Registry
from tests.portal.simulated_box import PORTAL_NAME, STATION, STATION_KEY, SimulatedBox
from tests.simulators.attesting_tpm import MAKER

START_S = 30.0


class PortalProcess:
    """A portal's state folder, its port, and the process that serves now."""

    def __init__(self, folder: Path, port: int, settings: Mapping[str, object]) -> None:
        self.folder = folder
        self.port = port
        self.log = folder / "portal.log"
        self.process: asyncio.subprocess.Process
        (folder / "makers.pem").write_bytes(MAKER.pem)
        values = {
            "portal_name": PORTAL_NAME,
            "state_folder": str(folder / "state"),
            "listen_port": port,
            "tpm_makers": str(folder / "makers.pem"),
            **settings,
        }
        lines = [
            f'{name} = "{value}"\n' if isinstance(value, str) else f"{name} = {value}\n"
            for name, value in values.items()
        ]
        (folder / "portal.toml").write_text("".join(lines) + f'station_keys = ["{STATION_KEY}"]\n')

    @property
    def authority_path(self) -> Path:
        return self.folder / "state/portal-ca.pem"

    @property
    def state_folder(self) -> Path:
        return self.folder / "state"

    def said(self) -> str:
        """What it wrote to standard error, since the first start."""
        return self.log.read_text()

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        ready = self.said().count("portal ready") if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "provisioning.portal", str(self.folder / "portal.toml")),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(START_S):
            while self.said().count("portal ready") == ready:
                assert self.process.returncode is None, self.said()
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        await self.process.wait()

    async def end(self) -> None:
        """End it as systemd does."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            await self.kill()


def free_port() -> int:
    """Give a port that nobody listens on, for a process that must come back to the same one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def portal_process(folder: Path, *boxes: SimulatedBox, **settings: object) -> AsyncIterator[PortalProcess]:
    """Run a portal that knows these boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    portal = PortalProcess(folder, free_port(), settings)
    registry = Registry(portal.state_folder / "registry", PORTAL_NAME, frozenset({bytes(STATION.verify_key)}))
    for box in boxes:
        registry.register(box.record())
    await portal.start()
    try:
        yield portal
        assert portal.process.returncode is None, portal.said()
    finally:
        with contextlib.suppress(ProcessLookupError):
            await portal.end()
