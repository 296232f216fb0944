"""`python -m tests.bench.tunnel_snitun SETTINGS.json`: snitun's own relay, one process, until its input ends.

snitun (NabuCasa) is what the tunnel is compared with: a published tunnel by server name that does not open the TLS.
Its relay runs on one port in one process, as this project's portal does. Its loop is what `loop` in the settings says.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from cryptography.fernet import Fernet

from tests.bench.tunnel_saying import say, until_input_ends

TOKEN_LIFETIME_S = 86_400
#: CPython before these does not stop whoever writes by writelines() when nobody reads (CVE-2024-12254).
MENDED = {(3, 12): (3, 12, 9), (3, 13): (3, 13, 2)}


def mend_writelines() -> None:
    """Give asyncio's writelines() the pause it has had since, so that snitun is not measured by an old CPython's bug.

    Without it a slow line lets snitun's box queue a whole download in memory and answer nobody else.
    """
    from asyncio.selector_events import _SelectorSocketTransport as Transport

    fixed = MENDED.get(sys.version_info[:2])
    if fixed is None or sys.version_info[:3] >= fixed:
        return
    write = Transport.writelines

    def writelines(self: Transport, lines: Iterable[bytes]) -> None:
        write(self, lines)
        self._maybe_pause_protocol()

    Transport.writelines = writelines


def make_token(host_name: str) -> dict[str, object]:
    """Give what a client needs to log in, and the relay's key under "fernet_key"."""
    from snitun.utils import server

    fernet_key, aes_key, aes_iv = Fernet.generate_key(), secrets.token_bytes(32), secrets.token_bytes(16)
    protocol_version = getattr(server, "PROTOCOL_VERSION", 1)
    token = {
        "valid": time.time() + TOKEN_LIFETIME_S,
        "hostname": host_name,
        "aes_key": aes_key.hex(),
        "aes_iv": aes_iv.hex(),
        "protocol_version": protocol_version,
    }
    return {
        "fernet_key": fernet_key.decode(),
        "token": Fernet(fernet_key).encrypt(json.dumps(token).encode()).decode(),
        "aes_key": aes_key.hex(),
        "aes_iv": aes_iv.hex(),
        "protocol_version": protocol_version,
        "version": version("snitun"),
    }


async def run(settings: dict[str, str]) -> None:
    from snitun.server.run import SniTunServerSingle

    logging.disable(logging.CRITICAL)
    server = SniTunServerSingle([settings["fernet_key"]], host=settings["address"], port=int(settings["port"]))
    await server.start()
    say(port=int(settings["port"]))
    await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    if arguments[0] == "--token":
        say(**make_token(arguments[1]))
        return
    settings = json.loads(Path(arguments[0]).read_text())
    mend_writelines()
    factory = None
    if settings["loop"] == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(until_input_ends(run(settings)))


if __name__ == "__main__":
    main(sys.argv[1:])
