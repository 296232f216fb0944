"""preview as its unit starts it, for the calls of this user; a document that says so ends it as a broken decoder would."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from appliance.contracts.preview import PREVIEW
from appliance.core.service import run
from appliance.core.varlink import answer_connection
from appliance.preview import answers

CRASH = b"this document ends its decoder"


async def main(sockets: Mapping[str, socket.socket]) -> None:
    make_preview = answers.make_preview

    def make_or_crash(media_type: Any, content: bytearray) -> Any:
        if CRASH in content:
            os.kill(os.getpid(), signal.SIGSEGV)
        return make_preview(media_type, content)

    answers.make_preview = make_or_crash
    await answer_connection(sockets["connection"], [(PREVIEW, answers.PREVIEW_ANSWERS)], {os.getuid(): "records"})


if __name__ == "__main__":
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as the unit's StandardError=null)
    run(main)
