"""What Prometheus is told: numbers under fixed names, on loopback only, nothing of anyone."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from dataclasses import fields
from pathlib import Path

import aiohttp
import pytest

from appliance.core.errors import Invalid
from provisioning.portal import metrics
from provisioning.portal.counts import Counts
from provisioning.portal.metrics import GAUGES, REFUSALS, render
from provisioning.portal.settings import loopback_of
from tests.portal.simulated_box import SimulatedBox, client_hello, dial_with, patient_tls, portal_in, read_to_end


def test_every_count_is_told_once_by_a_fixed_name() -> None:
    names = [field.name for field in fields(Counts)]
    assert set(GAUGES) | set(REFUSALS) <= set(names)
    counts = Counts(**{name: 1000 + number for number, name in enumerate(names)})
    lines = [line for line in render(counts).decode().splitlines() if not line.startswith("#")]
    assert sorted(float(line.rsplit(" ", 1)[1]) for line in lines) == [
        1000.0 + number for number in range(len(names))
    ]


async def test_no_address_name_or_box_is_in_the_metrics(tmp_path: Path) -> None:
    box = SimulatedBox(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with (
        portal_in(tmp_path, metrics_listen=f"127.0.0.1:{port}") as portal,
        aiohttp.ClientSession() as session,
    ):
        portal.registry.register(box.record())
        async with box.serve(portal):
            reader, writer = await patient_tls(portal.port, box)
            await reader.readline()
            stranger = await dial_with(("127.0.0.1", portal.port), client_hello("stranger.example"))
            with contextlib.closing(stranger):
                await read_to_end(stranger)
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                text = await response.text()
            writer.close()
    assert 'praxis_portal_refusals_total{reason="unknown_names"} 1.0' in text
    assert "praxis_portal_relays_now 1.0" in text
    for private in ("127.0.0.1", box.host_name, box.box.hex(), "stranger", "example"):
        assert private not in text
    assert set(re.findall(r"\{(.*?)\}", text)) == {f'reason="{reason}"' for reason in REFUSALS}


async def test_a_metrics_port_that_is_taken_stops_no_patient_and_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "AGAIN_S", 0.05)
    box = SimulatedBox(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = "{}:{}".format(*taken.getsockname())
        async with portal_in(tmp_path, metrics_listen=listen) as portal, aiohttp.ClientSession() as session:
            portal.registry.register(box.record())
            async with box.serve(portal):
                reader, writer = await patient_tls(portal.port, box)
                assert await reader.readline() == box.host_name.encode() + b"\n"
                writer.close()
                assert f"portal metrics not served: {listen}: " in capsys.readouterr().err
                taken.close()
                async with asyncio.timeout(10):
                    while True:
                        with contextlib.suppress(aiohttp.ClientError):
                            async with session.get(f"http://{listen}/metrics") as response:
                                assert "praxis_portal_draining_now 0.0" in await response.text()
                                break
                        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9100", "192.0.2.1:9100", "localhost:9100", "127.0.0.1", "127.0.0.1:99999"]
)
def test_metrics_are_told_on_loopback_only(listen: str) -> None:
    with pytest.raises(Invalid):
        loopback_of(listen)


def test_loopback_may_be_either_family() -> None:
    assert loopback_of("127.0.0.1:9100") == ("127.0.0.1", 9100)
    assert loopback_of("[::1]:9100") == ("::1", 9100)
