"""The sides of the comparison, each with its own box, certificate and, but for `direct`, its own relay.

    direct     the application on a socket of its own: TLS without any tunnel
    work       the real portal, the real tunnel, raw work connections
    wrapped    the same, every work connection in TLS of its own
    streams    the same, every patient a stream of the one control connection
    snitun     snitun's relay and its client in the in-process mode
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.bench.tunnel_application import write_page
from tests.bench.tunnel_load import Load
from tests.bench.tunnel_programs import Portal, Program, cpu_s
from tests.portal.simulated_box import PORTAL_NAME, STATION_KEY, SimulatedBox
from tests.simulators.attesting_tpm import MAKER
from tests.simulators.demo_box import ROOT

OURS = ("work",)
NAMES = ("direct", *OURS, "snitun")
LOOPBACK = "127.0.0.1"
CONNECTED_TIMEOUT_S = 30
SPARES = 4
#: What the box of a side is told beyond the defaults, by side.
TUNNEL_SETTINGS: dict[str, dict[str, object]] = {"work": {}}


@dataclass(frozen=True)
class Places:
    """Where box and relay run: network namespaces (None: this one), and the relay's address as both see it."""

    box: str | None = None
    relay: str | None = None
    relay_address: str = LOOPBACK


@dataclass
class Side:
    """A running side: where patients dial, which processes carry them."""

    name: str
    box: Program
    relay: Program | None
    load: Load
    settings: Path = field(default=Path())

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.box.pid, *((self.relay.pid,) if self.relay else ()))

    def costs(self) -> tuple[float, float]:
        """Give the CPU seconds used so far by box and relay."""
        return cpu_s(self.box.pid), cpu_s(self.relay.pid) if self.relay else 0.0


def write_portal(folder: Path, address: str, port: int, boxes: Sequence[SimulatedBox] = (), **more: object) -> Path:
    """Write a portal's settings and the records of its boxes; give the settings file."""
    (folder / "makers.pem").write_bytes(MAKER.pem)
    registry = folder / "state/registry"
    registry.mkdir(parents=True, mode=0o700)
    for box in boxes:
        (registry / f"{box.box.hex()}.json").write_text(json.dumps(_record(box)))
    lines = {
        "portal_name": PORTAL_NAME,
        "state_folder": str(folder / "state"),
        "listen_address": address,
        "listen_port": port,
        "station_keys": [STATION_KEY],
        "tpm_makers": str(folder / "makers.pem"),
        "spare_connections": SPARES,
        **more,
    }
    path = folder / "portal.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items()))
    return path


def _record(box: SimulatedBox) -> dict[str, object]:
    record = box.record()
    return {name: getattr(record, name) for name in record.__struct_fields__}


@contextmanager
def opened(
    name: str, python: Path, folder: Path, load: Path, places: Places = Places(), *, prefix: Sequence[str] = ()
) -> Iterator[Side]:
    """Start a side and wait until patients are served; ended at the end of the block."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        if name == "direct":
            side = _direct(stack, python, folder, load, places)
        elif name == "snitun":
            side = _snitun(stack, python, folder, load, places)
        else:
            side = _tunnel(stack, name, python, folder, load, places)
        side.load.until_served()
        yield side


def _start_box(
    stack: contextlib.ExitStack, python: Path, folder: Path, places: Places, settings: dict[str, object]
) -> Program:
    path = folder / "box.json"
    path.write_text(json.dumps(settings))
    box = Program([python, "-m", "tests.bench.tunnel_box", path], namespace=places.box)
    stack.callback(box.end)
    return box


def _direct(stack: contextlib.ExitStack, python: Path, folder: Path, load: Path, places: Places) -> Side:
    host = "direct.localhost"
    write_page(folder, host)
    address = places.relay_address
    box = _start_box(stack, python, folder, places, {"side": "direct", "address": address})
    port = box.hear(lambda said: "port" in said)["port"]
    return Side("direct", box, None, Load(load, f"{address}:{port}", host, folder, places.relay))


def _tunnel(
    stack: contextlib.ExitStack, name: str, python: Path, folder: Path, load: Path, places: Places
) -> Side:
    simulated = SimulatedBox(folder)
    write_page(folder, simulated.host_name)
    settings = write_portal(folder, places.relay_address, 0, [simulated])
    relay = Portal(python, settings, namespace=places.relay)
    stack.callback(relay.end)
    address = f"{places.relay_address}:{relay.until_ready()}"
    key = simulated.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    box = _start_box(
        stack, python, folder, places,
        {
            "side": "tunnel",
            "box": simulated.box.hex(),
            "device_key": key.decode(),
            "host_name": simulated.host_name,
            "portal_address": address,
            "portal_name": PORTAL_NAME,
            "portal_ca": str(folder / "state/portal-ca.pem"),
            "tunnel": TUNNEL_SETTINGS[name],
        },
    )  # fmt: skip
    wanted = 0 if name == "streams" else SPARES
    box.hear(
        lambda said: said.get("state") == "connected" and said["spares"] >= wanted, timeout_s=CONNECTED_TIMEOUT_S
    )
    return Side(name, box, relay, Load(load, address, simulated.host_name, folder, places.relay), settings)


def _snitun(stack: contextlib.ExitStack, python: Path, folder: Path, load: Path, places: Places) -> Side:
    host = f"{secrets.token_hex(4)}.localhost"
    write_page(folder, host)
    made = subprocess.run(
        [python, "-m", "tests.bench.tunnel_snitun", "--token", host], cwd=ROOT, capture_output=True, text=True, check=True
    )
    token = json.loads(made.stdout)
    port = free_port(places.relay_address, places.relay)
    relay_settings = folder / "relay.json"
    relay_settings.write_text(
        json.dumps(
            {"address": places.relay_address, "port": port, "fernet_key": token["fernet_key"], "loop": "asyncio"}
        )
    )
    relay = Program([python, "-m", "tests.bench.tunnel_snitun", relay_settings], namespace=places.relay)
    stack.callback(relay.end)
    relay.hear()
    address = f"{places.relay_address}:{port}"
    box = _start_box(stack, python, folder, places, {"side": "snitun", "portal_address": address, **token})
    box.hear(lambda said: said.get("state") == "connected")
    return Side("snitun", box, relay, Load(load, address, host, folder, places.relay))


def free_port(address: str, namespace: str | None) -> int:
    """Give a port that is free there now, below those of outgoing connections."""
    look = f"import socket; s = socket.create_server(({address!r}, 0)); print(s.getsockname()[1])"
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    answer = subprocess.run([*inside, "python3", "-c", look], capture_output=True, text=True, check=True)
    return int(answer.stdout)
