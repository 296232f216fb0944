"""The station is killed (SIGKILL) at every boundary of its steps, and the same command goes on: one key, one record."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from provisioning.station.progress import STEPS
from tests.station.technician import ROOT, Technician, practice_page, technician

PROGRAM = Path(__file__).with_name("killed_station.py")
RESTS = ("handed_over",)

Run = Callable[[int, list[str]], Awaitable[dict[str, int]]]


@contextlib.asynccontextmanager
async def killed_station() -> AsyncIterator[Run]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def run(kill_at: int, words: list[str]) -> dict[str, int]:
        process.stdin.write(json.dumps({"kill_at": kill_at, "words": words}).encode() + b"\n")
        said: dict[str, int] = json.loads(await process.stdout.readline())
        return said

    try:
        yield run
    finally:
        process.stdin.close()
        await process.wait()


def check_result(at_bench: Technician) -> None:
    """One box, one key, one record, a finished sheet and a paper with the claim code that holds."""
    vault, progress, sheet = at_bench.bench.vault, at_bench.progress, at_bench.files.read_sheet()
    assert set(progress.done) == set(STEPS) - set(RESTS)
    assert progress.failure is None
    der = vault.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (progress.box, progress.device_fingerprint) == (vault.box, hashlib.sha256(der).hexdigest())
    assert vault.finished
    assert at_bench.portal.counts.devices_registered == 1
    assert at_bench.portal.counts.devices_refused == 0
    assert len(list((at_bench.folder / "portal/registry").glob("*.json"))) == 1
    assert sheet is not None
    assert sheet.finished
    assert sheet.claim_code == vault.claim_code
    paper = subprocess.run(["pdftotext", at_bench.files.paper, "-"], capture_output=True, text=True, check=True)
    assert vault.claim_code in paper.stdout
    names = {path.name for path in at_bench.files.folder.iterdir()}
    assert names == {"state.json", "sheet.json", "handover.pdf", "lock"}  # no draft with a claim code is left


async def test_a_station_killed_at_any_boundary_goes_on_with_the_same_command(tmp_path: Path) -> None:
    async with killed_station() as run, practice_page(tmp_path, "praxis-abababab-lan.localhost") as port:

        @contextlib.asynccontextmanager
        async def bench(name: str) -> AsyncIterator[tuple[Technician, list[str]]]:
            (tmp_path / name).mkdir()
            async with technician(tmp_path / name) as at_bench:
                at_bench.order = replace(at_bench.order, lan_port=port)
                yield at_bench, at_bench.words("--paper=de")

        async with bench("whole") as (at_bench, words):
            whole = await run(0, words)
            assert whole["status"] == 0
            check_result(at_bench)
        assert whole["boundaries"] == 2 * (4 + 1 + 6 + 2 + 1)  # questions, the record, states, sheets, the paper
        for kill_at in range(1, whole["boundaries"] + 1):
            async with bench(f"kill-{kill_at}") as (at_bench, words):
                assert (await run(kill_at, words))["status"] == -9, kill_at
                resumed = await run(0, words)
                assert resumed["status"] == 0, kill_at
                check_result(at_bench)
