"""The deployment of provisioning/portal/README.md, run on one machine as the page says it.

The page's fenced blocks are the source: settings (`# file:`, and `# as:` for one that differs from another), commands
(`sh`) and what runs for good (`sh service`). Replaced are addresses, by ports of the loopback; folders, by one of the
test's; and the two keys, by the station's and the one that the page's own command prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tests.portal.haproxy import free_ports, listens
from tests.portal.simulated_box import PORTAL_NAME, STATION_KEY
from tests.simulators.attesting_tpm import MAKER

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "provisioning/portal/README.md"
BLOCK = re.compile(r"^```(toml|sh service|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = re.compile(r"\b(?:10\.0\.0|192\.0\.2|127\.0\.0)\.\d+:\d+\b")
AS = re.compile(r"^# as: /etc/praxissafe/(\w+)\.toml$", re.MULTILINE)
FOLDERS = ("/etc/praxissafe", "/var/lib/praxissafe", "/srv/praxissafe", "/run/praxissafe")
READY_S = 20.0


class Deployment:
    """Every process of the page; files below `folder`."""

    def __init__(self, folder: Path, page: str) -> None:
        self.folder = folder
        blocks = BLOCK.findall(page)
        self._texts = {
            text.split("\n", 1)[0].removeprefix("# file: "): text for kind, text in blocks if kind == "toml"
        }
        self._commands = [line for kind, text in blocks if kind == "sh" for line in text.splitlines()]
        self._services = {
            text.split("\n", 1)[0].removeprefix("# "): text.splitlines()[1]
            for kind, text in blocks
            if kind == "sh service"
        }
        found = sorted({address for kind, text in blocks if kind == "toml" for address in self._addresses(text)})
        self._ports = dict(zip(found, free_ports(len(found)), strict=True))
        self._registry_key = "REGISTRY-KEY"
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    def settings(self, name: str) -> dict[str, object]:
        """Give a settings file as the page has it, the page's addresses replaced."""
        given = self._given(name)
        for word in ("listen", "front_listen"):
            port = self._ports.get(f"{given.get(word + '_address')}:{given.get(word + '_port')}")
            if port is not None:
                given |= {f"{word}_address": "127.0.0.1", f"{word}_port": port}
        return given

    def port(self, address: str) -> int:
        """Give the port that stands for one of the page's addresses."""
        return self._ports[address]

    async def prepare(self) -> None:
        """Make the folders and what the page takes for granted: the makers' file, and who may use the sockets."""
        for name in FOLDERS:
            self._place(name).mkdir(parents=True, exist_ok=True)
        (self._place("/etc/praxissafe") / "makers.pem").write_bytes(MAKER.pem)

    async def run(self) -> None:
        """Follow the page from its top: every file, command and service, in the page's order."""
        await self.prepare()
        commands = iter(self._commands)
        self._registry_key = (await self._say(next(commands))).strip()
        for text in self._texts:
            name = Path(text).stem
            self._write(name)
        for name in ("registrar", "publish"):
            await self.start(name)
        for command in commands:
            await self._say(command)
        for name in self._services:
            if name not in self.processes:
                await self.start(name)

    async def start(self, name: str) -> None:
        """Start one service and wait until it serves."""
        words = self._words(self._services[name])
        process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        self.processes[name] = process
        assert process.stderr is not None
        async with asyncio.timeout(READY_S):
            if name == "haproxy":
                while not listens(self.port("192.0.2.10:443")):
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
                return
            while not re.search(rb"ready|accepted number", line := await process.stderr.readline()):
                assert line, name

    async def kill(self, name: str) -> None:
        """Kill one service without a word."""
        process = self.processes.pop(name)
        process.kill()
        await process.communicate()

    def drain(self, name: str) -> None:
        """Ask one service to end."""
        self.processes[name].send_signal(signal.SIGTERM)

    async def end(self) -> None:
        """Kill everything that still runs."""
        for name in list(self.processes):
            with contextlib.suppress(ProcessLookupError):
                await self.kill(name)

    def _given(self, name: str) -> dict[str, object]:
        text = self._texts[f"/etc/praxissafe/{name}.toml"]
        base = AS.search(text)
        return {**(self._given(base[1]) if base else {}), **tomllib.loads(self._replaced(text))}

    def _write(self, name: str) -> None:
        lines, tables = [], []
        for key, value in self.settings(name).items():
            if isinstance(value, dict):
                tables += [f"[{key}]", *(f'"{inner}" = "{text}"' for inner, text in value.items())]
            else:
                lines.append(f"{key} = {msgspec.json.encode(value).decode()}")
        (self._place("/etc/praxissafe") / f"{name}.toml").write_text("\n".join([*lines, *tables, ""]))

    async def _say(self, command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self._words(command), cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        said, complaint = await asyncio.wait_for(process.communicate(), READY_S)
        assert process.returncode == 0, complaint.decode()
        return said.decode()

    def _words(self, command: str) -> list[str]:
        first, *others = shlex.split(self._replaced(command))
        return [sys.executable if first == "python" else first, *others]

    def _replaced(self, text: str) -> str:
        for name in FOLDERS:
            text = text.replace(name, str(self._place(name)))
        text = ADDRESS.sub(lambda found: f"127.0.0.1:{self._ports[found[0]]}", text)
        text = text.replace("portal.example", PORTAL_NAME)
        return text.replace("STATION-KEY", STATION_KEY).replace("REGISTRY-KEY", self._registry_key)

    def _place(self, name: str) -> Path:
        return self.folder / name.strip("/").replace("/", "-")

    def _addresses(self, text: str) -> Iterator[str]:
        yield from ADDRESS.findall(text)
        given = tomllib.loads(text)
        base = AS.search(text)
        shared = tomllib.loads(self._texts[f"/etc/praxissafe/{base[1]}.toml"]) if base else {}
        for word in ("listen", "front_listen"):
            both = shared | given
            if f"{word}_port" in both:
                yield f"{both[word + '_address']}:{both[word + '_port']}"
        if "metrics_listen" in given:
            yield str(given["metrics_listen"])


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    """Run the page's deployment until the block ends."""
    running = Deployment(folder, PAGE.read_text(encoding="utf-8"))
    os.umask(0o022)
    try:
        await running.run()
        yield running
    finally:
        await running.end()
