"""`python -m appliance.presence`: wires presence together; no logic here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

from appliance.contracts.vault import VAULT, NotePresence
from appliance.core.service import report_ready, run
from appliance.core.settings import read_settings
from appliance.core.varlink import Peer
from appliance.presence.settings import PresenceSettings
from appliance.presence.watching import watch_button


async def main(_: Mapping[str, socket.socket]) -> None:
    """Watch every button."""
    settings = read_settings(PresenceSettings, "presence")
    vault = Peer.of(VAULT, "vault")
    async with asyncio.TaskGroup() as group:
        for path in settings.buttons:
            group.create_task(watch_button(Path(path), lambda: vault.ask(NotePresence())))
        report_ready()


if __name__ == "__main__":
    run(main)
