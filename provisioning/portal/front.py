"""`python -m provisioning.portal.front`: keep HAProxy in front of the relays in step with the accepted boxes.

    front write FRONT.toml      write haproxy.cfg and boxes.map
    front follow FRONT.toml     and keep the map of the running HAProxy in step: file, then runtime API, no reload

haproxy.cfg follows from the settings alone, so only a change of these needs a reload of HAProxy. The map changes as
one: HAProxy never routes by half of a new one. Exit status: 0 done, 2 wrong input.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from appliance.core.errors import PraxisError
from provisioning.files import replace_file
from provisioning.portal.accepted_boxes import AcceptedBoxes
from provisioning.portal.front_config import boxes_map, haproxy_config
from provisioning.portal.front_settings import FrontSettings, read_front_settings
from provisioning.portal.keys import read_key, read_keys

LOOK_INTERVAL_S = 1.0
RUNTIME_TIMEOUT_S = 5.0
LINES_PER_COMMAND = 100  # a command has to fit into HAProxy's buffer of 16 kB
MAX_ANSWER_BYTES = 64 * 1024


class Front:
    """The files of one front, and the HAProxy that reads them."""

    def __init__(self, settings: FrontSettings) -> None:
        self._settings = settings
        folder = Path(settings.folder)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._boxes = AcceptedBoxes(
            Path(settings.accepted_file),
            folder,
            read_key(settings.accepted_key),
            settings.portal_name,
            read_keys(settings.station_keys),
        )
        self._map: str | None = None

    def write(self) -> None:
        """Write both files."""
        config = haproxy_config(self._settings).encode()
        replace_file(Path(self._settings.folder) / "haproxy.cfg", config, mode=0o644)
        self.write_map(None)

    def write_map(self, held_by: Mapping[str, Collection[bytes]] | None) -> bool:
        """Write the map if it changed; True if it did."""
        self._boxes.refresh(int(time.time()))
        text = boxes_map(self._settings, self._boxes.records.values(), held_by)
        if text == self._map:
            return False
        replace_file(self._settings.boxes_map, text.encode(), mode=0o644)
        self._map = text
        return True

    async def tell(self) -> bool:
        """Give the running HAProxy the map; False if it cannot be reached or does not take it."""
        path, lines = self._settings.boxes_map, (self._map or "").splitlines()
        answer = await self._command(f"prepare map {path}")
        version = answer.rpartition(":")[2].strip()
        if not version.isdigit():
            return False
        for start in range(0, len(lines), LINES_PER_COMMAND):
            batch = "\n".join(lines[start : start + LINES_PER_COMMAND])
            if (await self._command(f"add map @{version} {path} <<\n{batch}\n")).strip():
                return False
        return not (await self._command(f"commit map @{version} {path}")).strip()

    async def _command(self, command: str) -> str:
        try:
            async with asyncio.timeout(RUNTIME_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(self._settings.runtime_socket)
                try:
                    writer.write(command.encode() + b"\n")
                    await writer.drain()
                    return (await reader.read(MAX_ANSWER_BYTES)).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return "away"


async def follow(settings: FrontSettings, stopped: asyncio.Event) -> None:
    """Keep files and HAProxy in step until `stopped`; HAProxy may come and go meanwhile."""
    front = Front(settings)
    front.write()
    print("front ready", file=sys.stderr, flush=True)
    told = False
    async with contextlib.AsyncExitStack() as stack:
        leases = None
        if settings.leases is not None:
            from provisioning.portal.leases import Leases  # redis only where it is used

            leases = Leases(settings.leases)
            stack.push_async_callback(leases.close)
        while not stopped.is_set():
            held_by = None if leases is None else await leases.held_by(settings.relays)
            changed = front.write_map(held_by)
            if changed or not told:
                told = await front.tell()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), LOOK_INTERVAL_S)


async def _run(settings: FrontSettings) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await follow(settings, stopped)


def main(words: list[str]) -> int:
    """Read the settings and do what the command line says."""
    if len(words) != 2 or words[0] not in ("write", "follow"):
        print("usage: python -m provisioning.portal.front write|follow FRONT.toml", file=sys.stderr)
        return 2
    try:
        settings = read_front_settings(Path(words[1]))
        if words[0] == "write":
            Front(settings).write()
        else:
            asyncio.run(_run(settings))
    except PraxisError as error:
        print(f"Not done: {error.code}.", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
