"""HAProxy in front of the bench's portal, by the configuration that `provisioning.portal.front` writes: the TLS of the
portal's name ends there, and what the portal holds of a tunnel is a plain connection.
"""

from __future__ import annotations

import datetime
import secrets
import signal
import time
from pathlib import Path

from provisioning.portal.authority import Authority
from provisioning.portal.front_config import haproxy_config
from provisioning.portal.front_settings import FrontSettings
from tests.bench.tunnel_programs import Program
from tests.portal.haproxy import free_ports, listens
from tests.portal.simulated_box import PORTAL_NAME

#: A tunnel's control connection counts twice, at the door and behind its TLS; each takes two descriptors.
MAX_CONNECTIONS = 7500
IDLE_S = 330
START_TIMEOUT_S = 10


class Front:
    """One front of one relay; `folder` is that of the portal, whose certificate is made here, before it starts."""

    def __init__(self, folder: Path) -> None:
        self._state, self._folder = folder / "state", folder / "front"
        self._listen, self.door, self._relay = free_ports(3)

    def relay_settings(self) -> dict[str, object]:
        """Give what the relay has to be told."""
        now = datetime.datetime.now(datetime.UTC)
        Authority(self._state, PORTAL_NAME, now).context(now)
        return {"front_listen_port": self._relay, "front_certificate": str(self._state / "portal.pem")}

    def start(self) -> FrontProgram:
        """Start HAProxy and wait until it listens; the relay runs."""
        self._folder.mkdir()
        pair = self._folder / "portal.pem"
        pair.write_bytes((self._state / "portal.pem").read_bytes() + (self._state / "portal.key").read_bytes())
        relay = f"127.0.0.1:{self.door}"
        settings = FrontSettings(
            portal_name=PORTAL_NAME,
            accepted_file="",
            accepted_key="",
            relays=(relay,),
            relay_fronts={relay: f"127.0.0.1:{self._relay}"},
            listen=f"127.0.0.1:{self._listen}",
            folder=str(self._folder),
            runtime_socket=f"/tmp/praxissafe-bench-{secrets.token_hex(8)}.sock",
            end_tls=str(pair),
            max_connections=MAX_CONNECTIONS,
            idle_timeout_s=IDLE_S,
        )
        settings.boxes_map.write_text("")
        config = self._folder / "haproxy.cfg"
        config.write_text(haproxy_config(settings))
        program = FrontProgram(config, Path(settings.runtime_socket))
        until = time.monotonic() + START_TIMEOUT_S
        while not listens(self.door):
            if time.monotonic() > until:
                program.end()
                raise TimeoutError("HAProxy does not listen")
            time.sleep(0.05)
        return program


class FrontProgram(Program):
    """HAProxy as a process of its own."""

    def __init__(self, config: Path, runtime_socket: Path) -> None:
        super().__init__(["haproxy", "-f", config, "-db"], json_lines=False)
        self._runtime_socket = runtime_socket

    def end(self, number: int | None = signal.SIGTERM) -> None:
        super().end(number)
        self._runtime_socket.unlink(missing_ok=True)
