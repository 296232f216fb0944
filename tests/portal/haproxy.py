"""A real HAProxy (Debian's package) with a generated configuration."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


def check_config(path: Path) -> None:
    """Fail with HAProxy's own words unless it takes the configuration without a warning."""
    asked = subprocess.run(["haproxy", "-c", "-f", path], capture_output=True, text=True, timeout=20, check=False)
    said = asked.stdout + asked.stderr
    assert asked.returncode == 0, said
    assert "WARNING" not in said, said


@asynccontextmanager
async def haproxy(config: Path, port: int) -> AsyncIterator[None]:
    """Run HAProxy until the block ends; `port` is one it listens on."""
    process = await asyncio.create_subprocess_exec("haproxy", "-f", config, "-db", stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while not listens(port):
                assert process.returncode is None, "HAProxy ended"
                await asyncio.sleep(0.02)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.05)
            process.kill()
        await process.wait()
        for path in re.findall(r"stats socket (\S+)", config.read_text()):  # HAProxy leaves it
            Path(path).unlink(missing_ok=True)


def listens(port: int) -> bool:
    """Say whether somebody listens on a port of the loopback."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Give ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]
