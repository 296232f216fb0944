"""practice alone in a process of its own, confined as on a box, able to write no byte to any file (RLIMIT_FSIZE 0).

`python -m tests.practice.alone FOLDER LISTENING_DESCRIPTOR`: its peers' sockets are in FOLDER/run. Says "ready".
"""

import asyncio
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import uvloop

from appliance.core.confine import confine_passed_sockets
from appliance.practice.connections import silence_libraries
from tests.practice.bench import served_practice


async def main(folder: Path, descriptor: int) -> None:
    silence_libraries()
    with socket.socket(fileno=descriptor) as listener:
        async with served_practice(folder, listener, time.time) as (_, guard):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
            sys.stdout.write("ready\n")  # a pipe: no file
            sys.stdout.flush()
            await guard.bug


if __name__ == "__main__":
    confine_passed_sockets()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    except asyncio.CancelledError:
        pass
