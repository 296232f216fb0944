"""enrol as a process: confined, on a passed listener, until enrolment is closed; then it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from tests.enrol.simulated_bench import ORDER, SimulatedVault

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("confined_enrol.py")


@contextlib.asynccontextmanager
async def enrol_process(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, SimulatedVault]]:
    vault = SimulatedVault()
    with socket.create_server(("127.0.0.1", 0)) as lan:
        async with vault.serve(folder / "vault.sock"):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, PROGRAM, str(lan.fileno()), folder / "vault.sock"),
                pass_fds=[lan.fileno()],
                env={"PYTHONPATH": str(ROOT)},
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                yield process, lan.getsockname()[1], vault
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()


async def ask(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"https://127.0.0.1:{port}{path}", json=body, ssl=False) as answer,
    ):
        assert answer.status == 200
        said: dict[str, Any] = await answer.json()
        return said


async def test_enrol_serves_confined_and_ends_by_itself_when_the_box_is_enrolled(tmp_path: Path) -> None:
    async with asyncio.timeout(30), enrol_process(tmp_path) as (process, port, vault):
        made = await ask(port, "/enrol", ORDER)
        assert await ask(port, "/finish", {"ticket": made["ticket"]}) == {"finished": True}
        assert await process.wait() == 0
        assert vault.finished


async def test_the_technician_is_told_even_when_the_rest_of_the_box_ends_enrol_first(tmp_path: Path) -> None:
    """vault's mark starts the box, whose target stops enrol, before vault has answered enrol."""
    async with asyncio.timeout(30), enrol_process(tmp_path) as (process, port, vault):
        made = await ask(port, "/enrol", ORDER)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        idle, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"GET /state HTTP/1.1\r\nHost: box\r\n\r\n")
        await idle.readuntil(b"}")
        vault.may_answer.clear()
        finishing = asyncio.create_task(ask(port, "/finish", {"ticket": made["ticket"]}))
        while not vault.finished:
            await asyncio.sleep(0)
        process.send_signal(signal.SIGTERM)
        assert await idle.read() == b""  # it is ending: idle connections are closed first
        writer.close()
        assert not finishing.done()
        vault.may_answer.set()
        assert await finishing == {"finished": True}
        assert await process.wait() == 0
