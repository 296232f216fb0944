"""Ten boxes in a row: ten real enrol processes, one command; one box that is off and one copied key stop nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from appliance.core.errors import Unavailable
from tests.enrol.simulated_bench import SimulatedVault
from tests.station.technician import ROOT, Technician, run_station, technician

PROGRAM = Path(__file__).with_name("enrol_processes.py")
BOXES = 10
OFF, COPY, ORIGINAL = 3, 6, 1


def serial(number: int) -> str:
    return f"PS-{number + 1:04}"


@contextlib.asynccontextmanager
async def enrol_processes(folder: Path, vaults: list[SimulatedVault]) -> AsyncIterator[list[int]]:
    """Run one enrol process for each vault; gives their ports."""
    async with contextlib.AsyncExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in vaults]
        for number, vault in enumerate(vaults):
            await stack.enter_async_context(vault.serve(folder / f"vault-{number}.sock"))
        words = [
            word
            for number, listener in enumerate(listeners)
            for word in (str(listener.fileno()), str(folder / f"vault-{number}.sock"))
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), *words),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            pass_fds=[listener.fileno() for listener in listeners],
            start_new_session=True,
        )
        ports = [listener.getsockname()[1] for listener in listeners]
        for listener in listeners:
            listener.close()  # a box that is done answers no more
        try:
            yield ports
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            await process.wait()


def vault_of(number: int) -> SimulatedVault:
    return SimulatedVault(box=f"{number:02x}" * 16)


def steps_of(said: str) -> dict[str, list[str]]:
    """Which steps are done, by serial."""
    return {
        row["serial"]: [step["step"] for step in row["steps"] if step["state"] == "done"] for row in json.loads(said)
    }


async def test_ten_boxes_are_enrolled_by_one_command_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    vaults = [vault_of(number) for number in range(BOXES)]
    vaults[COPY].key = vaults[ORIGINAL].key
    async with technician(tmp_path) as at_bench, enrol_processes(tmp_path, vaults) as ports:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            away = nobody.getsockname()[1]
        boxes = tmp_path / "boxes.txt"
        lines = [f"{serial(number)} 127.0.0.1:{away if number == OFF else port}" for number, port in enumerate(ports)]
        boxes.write_text("\n".join(lines) + "\n")
        words = ("enrol-all", f"--settings={at_bench.write_settings(paper='de')}", f"--boxes={boxes}")

        status, said, complained = await run_station(*words)
        assert status == 6, complained
        assert "8 von 10 Geräten sind fertig eingerichtet. / 8 of 10 boxes are enrolled." in said
        assert f"{serial(OFF)}: Das Gerät antwortet nicht." in said
        copied, original = sorted((serial(COPY), serial(ORIGINAL)), reverse=True)
        assert copied in said or original in said
        for number in range(BOXES):
            assert f"{serial(number)}  " in complained  # everybody's progress was told
        assert [vault.finished for vault in vaults].count(True) == 8
        for code in (vault.claim_code for vault in vaults):
            assert code not in said + complained
        check_rows(await status_of(at_bench), done=8)

        failed = {number for number in range(BOXES) if not vaults[number].finished}
        assert OFF in failed
        (duplicate,) = failed - {OFF}
        assert duplicate in (COPY, ORIGINAL)  # whichever came second
        vaults[duplicate].key = ec.generate_private_key(ec.SECP256R1())  # a box of its own in its place
        boxes.write_text(boxes.read_text().replace(f":{away}\n", f":{ports[OFF]}\n"))
        status, said, complained = await run_station(*words)
        assert status == 0, complained
        assert "10 von 10" in said
        check_rows(await status_of(at_bench), done=10)
        assert at_bench.portal.counts.devices_registered == BOXES
        papers = [at_bench.workbench.files(serial(number)).paper for number in range(BOXES)]
        assert all(paper.stat().st_mode & 0o777 == 0o600 for paper in papers)


async def status_of(at_bench: Technician) -> str:
    status, said, complained = await run_station("status", f"--folder={at_bench.folder / 'boxes'}", "--json")
    assert (status, complained) == (0, "")
    return said


def check_rows(said: str, done: int) -> None:
    rows = steps_of(said)
    assert list(rows) == [serial(number) for number in range(BOXES)]
    everything = ["reached", "keys", "sheet", "registered", "closed", "printed"]
    assert sum(steps == everything for steps in rows.values()) == done


async def test_resume_goes_on_with_what_was_begun_and_with_nothing_else(tmp_path: Path) -> None:
    async with technician(tmp_path) as at_bench:
        at_bench.bench.vault.failure = Unavailable("storage")
        settings = f"--settings={at_bench.write_settings()}"
        status, _, complained = await run_station(*at_bench.words())
        assert status == 3, complained
        assert "storage" in complained
        status, said, complained = await run_station("resume", settings)
        assert status == 0, complained
        assert "1 von 1" in said
        assert at_bench.bench.vault.finished
        status, said, _ = await run_station("resume", settings)
        assert status == 0
        assert len(at_bench.bench.vault.orders) == 2  # the finished box was not asked again
        status, _, complained = await run_station("resume", settings, "PS-0099")
        assert status == 6
        assert "(NotFound: serial_unknown)" in complained
