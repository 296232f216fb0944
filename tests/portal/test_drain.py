"""Restarting a portal: a download that runs goes on, newcomers are served by the new process, nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from provisioning.portal.registry import Registry
from tests.portal.simulated_box import (
    PORTAL_NAME,
    STATION,
    Mode,
    RunningPortal,
    SimulatedBox,
    client_hello,
    dial_with,
)
from tests.portal.test_program import write_settings

PIECE = b"d" * 65536
PIECES = 64


class Process:
    """One portal process on a port that both share."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def until(self, word: str) -> str:
        assert self.process.stderr is not None
        while True:
            line = (await self.process.stderr.readline()).decode()
            assert line, f"it ended without saying {word}: {self.said}"
            self.said.append(line)
            if word in line:
                return line

    async def ended(self) -> int:
        assert self.process.stderr is not None
        self.said += (await self.process.stderr.read()).decode().splitlines()
        return await self.process.wait()


@contextlib.asynccontextmanager
async def started(settings: Path):  # type: ignore[no-untyped-def]
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "provisioning.portal", settings, stderr=asyncio.subprocess.PIPE
        )
    )
    try:
        await process.until("ready")
        yield process
    finally:
        if process.process.returncode is None:
            process.process.kill()
            await process.process.wait()


def settings_with(folder: Path, box: SimulatedBox, more: str = "") -> tuple[Path, RunningPortal]:
    """Give settings for a port of their own, and a register that knows the box."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = write_settings(folder, more)
    path.write_text(path.read_text().replace("listen_port = 0", f"listen_port = {port}"))
    Registry(folder / "state/registry", PORTAL_NAME, frozenset([bytes(STATION.verify_key)])).register(box.record())
    return path, RunningPortal(port, folder / "state/portal-ca.pem")


async def receive_exactly(sock: socket.socket, length: int) -> int:
    loop = asyncio.get_running_loop()
    received = 0
    while received < length and (data := await loop.sock_recv(sock, length - received)):
        received += len(data)
    return received


@pytest.mark.parametrize("mode", ["raw", "wrapped", "streams"])
async def test_a_download_survives_the_portals_restart_and_newcomers_go_to_the_new_process(
    tmp_path: Path, mode: Mode
) -> None:
    box = SimulatedBox(tmp_path)
    settings, portal = settings_with(tmp_path, box)
    loop = asyncio.get_running_loop()
    go_on = asyncio.Event()

    async def download(sock: socket.socket) -> None:
        await loop.sock_recv(sock, 65536)  # closing with unread bytes would be a reset
        for number in range(PIECES):
            await loop.sock_sendall(sock, PIECE)
            if number == PIECES // 2:
                await go_on.wait()

    hello = client_hello(box.host_name)
    address = ("127.0.0.1", portal.port)
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(started(settings))
        await stack.enter_async_context(box.serve(portal, download, mode))
        patient = stack.enter_context(contextlib.closing(await dial_with(address, hello)))
        assert await receive_exactly(patient, len(PIECE)) == len(PIECE)
        new = await stack.enter_async_context(started(settings))
        old.process.send_signal(signal.SIGTERM)
        await old.until("draining")
        again = SimulatedBox(tmp_path)  # the box, dialling anew: the old process accepts no more
        again.box, again.key, again.host_name = box.box, box.key, box.host_name

        async def serve_newcomer(sock: socket.socket) -> None:
            await loop.sock_recv(sock, 65536)
            await loop.sock_sendall(sock, b"new")

        while True:
            try:
                await stack.enter_async_context(again.serve(portal, serve_newcomer))
                break
            except aiohttp.ClientError:  # it came to the old one in the moment of its closing, and dials again
                await asyncio.sleep(0.05)
        newcomer = stack.enter_context(contextlib.closing(await dial_with(address, hello)))
        assert await receive_exactly(newcomer, 3) == 3
        go_on.set()
        assert await receive_exactly(patient, (PIECES - 1) * len(PIECE)) == (PIECES - 1) * len(PIECE)
        patient.close()
        assert await old.ended() == 0
        assert "portal ended" in old.said[-1]
        assert new.process.returncode is None


async def test_with_no_relay_it_ends_at_once(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    settings, portal = settings_with(tmp_path, box)
    async with started(settings) as process, box.serve(portal):
        process.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(3):
            assert await process.ended() == 0


@pytest.mark.parametrize("ending", ["second_signal", "limit"])
async def test_a_relay_that_does_not_end_is_cut_by_the_second_signal_or_the_limit(
    tmp_path: Path, ending: str
) -> None:
    box = SimulatedBox(tmp_path)
    settings, portal = settings_with(tmp_path, box, "drain_limit_s = 0.2\n" if ending == "limit" else "")
    loop = asyncio.get_running_loop()

    async def greet_and_wait(sock: socket.socket) -> None:
        await loop.sock_sendall(sock, b"x")
        await asyncio.sleep(3600)

    async with started(settings) as process, box.serve(portal, greet_and_wait):
        with contextlib.closing(await dial_with(("127.0.0.1", portal.port), client_hello(box.host_name))) as patient:
            assert await receive_exactly(patient, 1) == 1
            process.process.send_signal(signal.SIGTERM)
            await process.until("draining")
            if ending == "second_signal":
                process.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(5):
                assert await process.ended() == 0
