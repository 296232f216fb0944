"""The preview process: answers one call on the one connection it was started for, and ends."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from appliance.contracts.preview import PREVIEW
from appliance.core.confine import hide_memory_from_own_user
from appliance.core.service import report_ready, run
from appliance.core.varlink import answer_connection
from appliance.preview.answers import PREVIEW_ANSWERS


async def main(sockets: Mapping[str, socket.socket]) -> None:
    """Run until the caller has its answer or leaves."""
    report_ready()
    await answer_connection(sockets["connection"], [(PREVIEW, PREVIEW_ANSWERS)])


if __name__ == "__main__":
    hide_memory_from_own_user()  # from a process that the document before has captured and that still runs
    run(main)
