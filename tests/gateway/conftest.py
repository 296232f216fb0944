"""gateway over real sockets and TLS, with a simulated vault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.simulators.patient_side import HOST, MadeShare, PatientSide, run_patient_side
from tests.simulators.sample_documents import Sample

CONTENT = bytes(range(256)) * 8192  # 2 MiB: several chunks
NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Answer:
    """What came back, raw."""

    status: int
    headers: dict[str, str]
    body: bytes


Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[PatientSide]:
    async with run_patient_side(tmp_path, now=lambda: NOW) as running:
        yield running


@pytest.fixture
def share(side: PatientSide) -> MadeShare:
    return side.make_share([Sample("befund.pdf", "Befund", "finding", "application/pdf", [CONTENT])])


async def connect(side: PatientSide, host: str = HOST) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        "127.0.0.1", side.port, ssl=side.client_context(), server_hostname=host, limit=1 << 22
    )


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(head[0].split()[1]), headers, body)


@pytest.fixture
def ask(side: PatientSide) -> Ask:
    """Ask one question on a connection of its own."""

    async def ask_once(
        method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"", host: str | None = None
    ) -> Answer:
        reader, writer = await connect(side)
        lines = {"Host": host or f"{HOST}:{side.port}", **(headers or {})}
        if body:
            lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **lines}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        try:
            return await read_answer(reader)
        finally:
            writer.close()

    return ask_once
