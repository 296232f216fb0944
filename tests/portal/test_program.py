"""The program itself: settings, ready line, end by SIGTERM, and what it never writes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.core.errors import Invalid
from provisioning.portal.counts import Counts
from provisioning.portal.settings import read_portal_settings
from tests.portal.simulated_box import (
    PORTAL_NAME,
    STATION_KEY,
    SimulatedBox,
    client_hello,
    dial_with,
    read_to_end,
)
from tests.simulators.attesting_tpm import MAKER


def write_settings(folder: Path, more: str = "") -> Path:
    path = folder / "portal.toml"
    (folder / "makers.pem").write_bytes(MAKER.pem)
    path.write_text(
        f'portal_name = "{PORTAL_NAME}"\nstate_folder = "{folder}/state"\nlisten_port = 0\n'
        f'station_keys = ["{STATION_KEY}"]\ntpm_makers = "{folder}/makers.pem"\n{more}'
    )
    return path


async def start(settings: Path) -> tuple[asyncio.subprocess.Process, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "provisioning.portal", settings, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    ready = (await process.stderr.readline()).decode()
    return process, int(ready.rsplit("=", 1)[1])


async def test_it_serves_ends_by_sigterm_and_writes_counts_only(tmp_path: Path) -> None:
    process, port = await start(write_settings(tmp_path))
    name = SimulatedBox(tmp_path).host_name
    for first_bytes in (
        client_hello(name),
        client_hello(PORTAL_NAME),
        b"garbage with a name",
        client_hello(name)[:9],
    ):
        with contextlib.closing(await dial_with(("127.0.0.1", port), first_bytes)) as stranger:
            with contextlib.suppress(OSError):  # it may be closed on us already
                stranger.shutdown(socket.SHUT_WR)
            await read_to_end(stranger)
    process.send_signal(signal.SIGTERM)
    _, written = await process.communicate()
    assert process.returncode == 0
    assert b"unknown_names=1" in written
    for private in (b"127.0.0.1", name.encode(), name.split(".")[0].encode(), b"garbage", b"Traceback"):
        assert private not in written


async def test_wrong_settings_are_one_sentence(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "provisioning.portal",
        write_settings(tmp_path, "debug = true\n"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, written = await process.communicate()
    assert process.returncode == 2
    assert written.count(b"\n") == 1


@pytest.mark.parametrize(
    "more",
    [
        *(
            "unknown = 1",
            "max_connections = 0",
            "idle_timeout_s = -1.0",
            "spare_connections = -1",
            'listen_port = "x"',
        ),
        *('boot_images = ["ab"]', f'boot_images = ["{"xy" * 32}"]'),
    ],
)
def test_a_setting_out_of_bounds_is_invalid(tmp_path: Path, more: str) -> None:
    with pytest.raises(Invalid):
        read_portal_settings(write_settings(tmp_path, more + "\n"))


@pytest.mark.parametrize("content", [None, b"", b"a letter", MAKER.intermediate.public_bytes(Encoding.PEM)])
def test_a_portal_that_knows_no_maker_does_not_start(tmp_path: Path, content: bytes | None) -> None:
    """An authority that did not sign itself leads to a maker and is none."""
    path = write_settings(tmp_path)
    (tmp_path / "makers.pem").unlink() if content is None else (tmp_path / "makers.pem").write_bytes(content)
    with pytest.raises(Invalid, match="tpm_makers"):
        read_portal_settings(path)


@pytest.mark.parametrize("text", ['portal_name = "Bad Name"', 'station_keys = ["short"]'])
def test_a_name_or_key_that_is_none_is_invalid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "portal.toml"
    (tmp_path / "makers.pem").write_bytes(MAKER.pem)
    shared = f'state_folder = "x"\ntpm_makers = "{tmp_path}/makers.pem"\n'
    path.write_text(f"{text}\n{shared}" + ("" if "name" in text else 'portal_name = "a.example"\n'))
    with pytest.raises(Invalid):
        read_portal_settings(path)


def test_counts_can_hold_numbers_only() -> None:
    assert {field.type for field in fields(Counts)} == {"int"}
