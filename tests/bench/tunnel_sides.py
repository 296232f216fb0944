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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.tunnel_application import write_page
from tests.bench.tunnel_load import Load
from tests.bench.tunnel_portal import Device, Portal, write_portal
from tests.bench.tunnel_programs import Program, cpu_s
from tests.simulators.demo_box import ROOT

OURS = ("work", "wrapped", "streams")
NAMES = ("direct", *OURS, "snitun")
LOOPBACK = "127.0.0.1"
CONNECTED_TIMEOUT_S = 30
SPARES = 4
#: What the box of a side remembers of its way (tunnel's route.json), so that it takes the mode that is measured.
ROUTES = {"work": "raw", "wrapped": "wrapped", "streams": "streams"}


@dataclass(frozen=True)
class Places:
    """Where box and relay run: network namespaces (None: this one), and the relay's address as both see it."""

    box: str | None = None
    relay: str | None = None
    relay_address: str = LOOPBACK
    box_address: str = LOOPBACK


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


@contextmanager
def opened(name: str, python: Path, folder: Path, load: Path, places: Places = Places()) -> Iterator[Side]:
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
    address = places.box_address
    box = _start_box(stack, python, folder, places, {"side": "direct", "address": address})
    port = box.hear(lambda said: "port" in said)["port"]
    return Side("direct", box, None, Load(load, f"{address}:{port}", host, folder, places.relay))


def _tunnel(stack: contextlib.ExitStack, name: str, python: Path, folder: Path, load: Path, places: Places) -> Side:
    device = Device.make()
    write_page(folder, device.host_name)
    port = free_port(places.relay_address, places.relay)
    settings = write_portal(folder, places.relay_address, port, [device], spare_connections=SPARES)
    relay = Portal(python, settings, namespace=places.relay)
    stack.callback(lambda: side.relay.end())
    relay.until_ready()
    address = f"{places.relay_address}:{port}"
    (folder / "route.json").write_text(json.dumps({"mode": ROUTES[name], "tried_at": time.time()}))
    box = _start_box(
        stack, python, folder, places, {"side": "tunnel", **device.settings(folder, address), "tunnel": {}}
    )
    side = Side(name, box, relay, Load(load, address, device.host_name, folder, places.relay), settings)
    wanted = 0 if name == "streams" else SPARES
    box.hear(
        lambda said: said.get("mode") == ROUTES[name] and said["spares"] >= wanted, timeout_s=CONNECTED_TIMEOUT_S
    )
    return side


def _snitun(stack: contextlib.ExitStack, python: Path, folder: Path, load: Path, places: Places) -> Side:
    host = f"{secrets.token_hex(4)}.localhost"
    write_page(folder, host)
    made = subprocess.run(
        [python, "-m", "tests.bench.tunnel_snitun", "--token", host],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
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
